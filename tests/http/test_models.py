"""GET /v1/models and the health endpoints."""

import pytest

from lib import scripts
from lib.checks import assert_error
from lib.scripts import confident


def test_the_list_names_routes_and_models(gateway):
    document = gateway.get("/v1/models").json()
    assert document["object"] == "list"
    assert {entry["id"] for entry in document["data"]} == {"auto", "drafter", "heavyweight", "other"}


def test_each_entry_has_the_members_an_sdk_reads(gateway):
    for entry in gateway.get("/v1/models").json()["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["id"], str) and isinstance(entry["owned_by"], str) and entry["owned_by"]
        assert isinstance(entry["created"], int) and not isinstance(entry["created"], bool) and entry["created"] >= 0


def test_no_name_stands_twice(gateway):
    ids = [entry["id"] for entry in gateway.get("/v1/models").json()["data"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", ["auto", "drafter", "heavyweight", "other"])
def test_one_entry_can_be_asked_for(gateway, name):
    entry = gateway.get(f"/v1/models/{name}").json()
    assert entry in gateway.get("/v1/models").json()["data"] and entry["id"] == name


@pytest.mark.parametrize("name", ["nobody", "autos", "aut", "AUTO", "auto/x", "%22", "%ff", "%0a", "x" * 3000])
def test_an_unknown_model_is_404(gateway, name):
    assert_error(gateway.get(f"/v1/models/{name}"), 404)


def test_an_unknown_model_is_named_as_openai_does(gateway):
    assert_error(gateway.get("/v1/models/nobody"), 404, code="model_not_found", says="nobody")


def test_a_name_may_be_percent_encoded(gateway):
    assert gateway.get("/v1/models/%61uto").json()["id"] == "auto"


def test_the_list_never_asks_upstream(gateway, upstream):
    gateway.get("/v1/models")
    assert upstream.requests == []


def test_the_list_follows_the_configuration(start):
    gateway = start(models={"third": {"provider": "good"}}, routes={"fast": {"drafter": "third", "heavyweight": "other"}})
    ids = {entry["id"] for entry in gateway.get("/v1/models").json()["data"]}
    assert ids == {"auto", "fast", "drafter", "heavyweight", "other", "third"}


# Health


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_is_200_and_json(gateway, upstream, path):
    answer = gateway.get(path)
    assert answer.status == 200
    assert isinstance(answer.json(), dict)
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_does_not_depend_on_upstream(start, path):
    port, keeper = scripts.refusing_port()
    url = f"http://127.0.0.1:{port}/v1"
    gateway = start(providers={"cheap": {"base_url": url}, "good": {"base_url": url}})
    assert_error(gateway.chat(), 502)
    assert gateway.get(path).status == 200
    keeper.close()


def test_health_answers_while_requests_wait(gateway, upstream):
    upstream.on("small-1", scripts.stall)
    clients = [gateway.client() for _ in range(20)]
    for client in clients:
        client.begin("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    upstream.wait_request("small-1", 20)
    assert gateway.get("/health/live").status == 200
    for client in clients:
        client.close()


def test_an_answer_is_never_cached_on_the_way(gateway, upstream):
    upstream.on("small-1", confident())
    assert "no-store" in gateway.get("/health/ready").header("Cache-Control")


@pytest.mark.parametrize("path, status", [("/v1/models", 200), ("/health/live", 200), ("/metrics", 200), ("/nothing", 404)])
def test_every_answer_tells_a_request_id(gateway, path, status):
    answer = gateway.request("GET", path, headers=[("X-Request-ID", "asked-for")])
    assert answer.status == status and answer.header("X-Request-ID") == "asked-for"
    made = gateway.request("GET", path).header("X-Request-ID")
    assert len(made) == 16 and int(made, 16) >= 0
