"""The AI SDK and LangChain's ChatOpenAI, unchanged but for their base URL, at each door; clients.mjs has the conversations."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lib import frames as f
from lib import scripts
from lib.scripts import confident
from lib.ways import way  # noqa: F401

SCRIPT = Path(__file__).with_name("clients.mjs")
DOORS = ["/v1", "/openai/v1", "/api/client/v1"]
CALLS = [("call_a", "weather", '{"city":"Paris"}'), ("call_b", "weather", '{"city":"Rome"}')]
FINISH = {"vercel": {"stop": "stop", "tools": "tool-calls"}, "langchain": {"stop": "stop", "tools": "tool_calls"}}


@pytest.fixture(scope="module")
def priced(shared, tmp_path_factory):
    """All that the doors can add is there to be added."""
    from lib.gateway import Gateway, long_form

    prices = {name: {"price": {"input": 1, "output": 2}} for name in ("drafter", "heavyweight", "other")}
    gateway = Gateway(tmp_path_factory.mktemp("priced"), long_form(shared.upstream, models=prices)).start()
    yield gateway
    gateway.stop()


@pytest.fixture(params=["vercel", "langchain"])
def library(request):
    return request.param


@pytest.fixture(params=DOORS)
def talk(request, library, priced):
    """talk(case, model): what came of this conversation."""

    def run(case, model="auto"):
        url = f"http://{priced.address[0]}:{priced.address[1]}{request.param}"
        done = subprocess.run(["node", str(SCRIPT), os.environ["DT_SDK_NODE"], url, library, case, model],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("case", ["plain", "stream"])
def test_a_chat(talk, way, library, case):
    outcome = talk(case, way(confident("Paris is it.", usage=f.usage(12, 3))))
    assert outcome.get("value") == {"text": "Paris is it.", "calls": [], "finish": FINISH[library]["stop"], "total": 15}, outcome


@pytest.mark.parametrize("case", ["tools", "streamed_tools"])
def test_tool_calls(talk, way, library, case):
    outcome = talk(case, way(scripts.calls_tools(CALLS, logprobs=True, usage=f.usage(20, 9))))
    expected = [[call, name, json.loads(arguments)] for call, name, arguments in CALLS]
    assert outcome.get("value") == {"text": "", "calls": expected, "finish": FINISH[library]["tools"], "total": 29}, outcome


@pytest.mark.parametrize("case", ["plain", "stream"])
@pytest.mark.parametrize("status, seen", [(400, 400), (429, 429), (500, 502)])
def test_an_error_has_its_status_and_its_message(talk, upstream, case, status, seen):
    upstream.on("other-1", scripts.failure(status, "no luck"))
    outcome = talk(case, "other")
    assert outcome["status"] == seen and "no luck" in outcome["message"], outcome
