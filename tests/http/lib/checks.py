"""What many tests assert in the same words."""

ERROR_TYPES = {
    400: "invalid_request_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    414: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    431: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "server_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
    505: "server_error",
}

ANY = object()


def assert_error(response, status, param=ANY, code=ANY, says=()):
    """The response is this error in the OpenAI shape. Returns the error. says: words of the message."""
    assert response.status == status, response
    assert response.complete
    document = response.json()
    assert set(document) == {"error"}, document
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"], error
    assert error["type"] == ERROR_TYPES[status], error
    if param is not ANY:
        assert error["param"] == param, error
    else:
        assert error["param"] is None or isinstance(error["param"], str), error
    if code is not ANY:
        assert error["code"] == code, error
    for word in [says] if isinstance(says, str) else says:
        assert word.lower() in error["message"].lower(), error
    return error


def assert_routed(response, decision, reason, model=None, provider=None):
    """The routing headers of an answer."""
    found = {
        "decision": response.header("X-Routing-Decision"),
        "reason": response.header("X-Routing-Reason"),
    }
    assert found == {"decision": decision, "reason": reason}, response
    if model is not None:
        assert response.header("x-gateway-model") == model, response
    if provider is not None:
        assert response.header("x-gateway-provider") == provider, response


def total(metrics, name, **labels):
    """The sum of the samples of this name that have these labels."""
    found = 0.0
    for sample, value in metrics.items():
        if sample.split("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
            found += value
    return found
