"""The three ways a request can go, and who answers it then."""

import pytest

from .scripts import uncertain

# Which model answers when the request goes this way, and the name to ask for.
WAYS = {"accept": ("small-1", "auto"), "escalate": ("large-1", "auto"), "direct": ("other-1", "other")}


@pytest.fixture(params=sorted(WAYS))
def way(request, upstream):
    """way(script): the model name to ask for so that this script answers, in each of the three ways."""

    def prepare(script):
        server, name = WAYS[request.param]
        upstream.on("small-1", uncertain())
        upstream.on(server, script)
        return name

    prepare.decision = request.param
    return prepare
