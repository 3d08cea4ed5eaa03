"""The configuration: check, the short form, the environment; and that a secret is never printed."""

import json
import subprocess

import pytest

from lib import frames as f
from lib import scripts
from lib.checks import assert_error, assert_routed
from lib.gateway import DRAFT_KEY, HEAVY_KEY, Gateway, binary, environment, long_form
from lib.scripts import confident, expert, uncertain

# Draft Thinker's own file, which must load as it stands.
ORIGINAL = """\
server:      {port: 8080, read_timeout: 30, write_timeout: 120, idle_timeout: 60}
drafter:     {provider: openai, base_url: https://api.openai.com/v1, model: gpt-4.1-nano, timeout: 30}
heavyweight: {provider: openai, base_url: https://api.openai.com/v1, model: gpt-4.1, timeout: 60}
entropy:     {threshold: 2.0, window_size: 10, early_exit_count: 10, top_logprobs: 5}
speculative: {enabled: true, soft_threshold_mult: 0.8}
cache:       {enabled: true, similarity_threshold: 0.95, ttl_seconds: 3600,
              embedding_model: text-embedding-3-small, embedding_dimensions: 1536, qdrant_collection: ignored-with-a-warning}
metrics:     {enabled: true, path: /metrics}
"""

LONG = """\
server:
  listen: [127.0.0.1:0]
providers:
  cheap:
    base_url: http://127.0.0.1:9/v1
    api_key: sk-never-shown
models:
  small: {provider: cheap, model: small-1}
  large: {provider: cheap, model: large-1}
routes:
  auto:
    drafter: small
    heavyweight: large
entropy:
  threshold: 2.0
"""


class Result:
    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.lines = (done.stdout + done.stderr).splitlines()


def run(*arguments, directory=None, env=None):
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=30, cwd=directory,
                          env=environment(**(env or {})), stdin=subprocess.DEVNULL)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return Result(done)


@pytest.fixture
def check(tmp_path):
    """check(text): `draft-thinker check` of a file with this text."""

    def begin(text, env=None):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return run("check", "-c", "c.yaml", directory=tmp_path, env=env)

    return begin


def assert_fault(result, line, path):
    """The check failed, and one of its lines is about this line and key path."""
    assert result.status == 1, result.lines
    wanted = f"c.yaml:{line}: {path}: "
    found = [text for text in result.lines if wanted in text]
    assert found, (wanted, result.lines)
    assert len(found[0].split(wanted, 1)[1]) > 3
    return found[0]


# check


def test_a_good_file_passes(check):
    result = check(LONG)
    assert result.status == 0, result.lines


def test_the_short_form_passes_as_it_stands(check):
    result = check(ORIGINAL, env={"OPENAI_API_KEY": "sk-x"})
    assert result.status == 0, result.lines
    assert any("qdrant_collection" in line for line in result.lines)


def test_json_passes_because_it_is_yaml(check, upstream):
    assert check(json.dumps(long_form(upstream), indent=2)).status == 0


def test_a_file_without_a_single_byte_is_taken_for_half_written(check):
    result = check("", env={"OPENAI_API_KEY": "sk-x"})
    assert result.status == 1
    assert "is empty" in result.out + result.err


@pytest.mark.parametrize("text", ["# nothing\n", "---\n", "{}\n"])
def test_a_file_that_says_nothing_is_the_defaults(check, text):
    assert check(text, env={"OPENAI_API_KEY": "sk-x"}).status == 0


@pytest.mark.parametrize(
    "old, new, line, path",
    [
        ("  threshold: 2.0", "  treshold: 2.0", 15, "entropy.treshold"),
        ("  threshold: 2.0", "  threshold: 2.0\n  threshold: 3.0", 16, "entropy.threshold"),
        ("  threshold: 2.0", "  threshold: high", 15, "entropy.threshold"),
        ("  threshold: 2.0", "  threshold: -1", 15, "entropy.threshold"),
        ("  threshold: 2.0", "  threshold: .nan", 15, "entropy.threshold"),
        ("  threshold: 2.0", "  threshold: [2.0]", 15, "entropy.threshold"),
        ("  threshold: 2.0", "  threshold: {a: 1}", 15, "entropy.threshold"),
        ("  threshold: 2.0", "  window_size: 0", 15, "entropy.window_size"),
        ("  threshold: 2.0", "  window_size: 1.5", 15, "entropy.window_size"),
        ("  threshold: 2.0", "  window_size: -3", 15, "entropy.window_size"),
        ("  threshold: 2.0", "  early_exit_count: -1", 15, "entropy.early_exit_count"),
        ("  threshold: 2.0", "  top_logprobs: 0", 15, "entropy.top_logprobs"),
        ("  threshold: 2.0", "  top_logprobs: 21", 15, "entropy.top_logprobs"),
        ("  threshold: 2.0", "  tail: sometimes", 15, "entropy.tail"),
        ("  threshold: 2.0", "  rule: nonsense", 15, "entropy.rule"),
        ("  threshold: 2.0", "  on_unscorable: maybe", 15, "entropy.on_unscorable"),
        ("  threshold: 2.0", "  threshold: 2.0\nstream: {mode: sideways}", 16, "stream.mode"),
        ("  threshold: 2.0", "  threshold: 2.0\nmetrics: {enabled: 7}", 16, "metrics.enabled"),
        ("  threshold: 2.0", "  threshold: 2.0\nmetrics: {path: no-slash}", 16, "metrics.path"),
        ("  threshold: 2.0", "  threshold: 2.0\nnonsense: 1", 16, "nonsense"),
        ("  threshold: 2.0", "  threshold: 2.0\nunknown_model: perhaps", 16, "unknown_model"),
        ("  threshold: 2.0", "  threshold: 2.0\nstream: {late: never}", 16, "stream.late"),
        ("  threshold: 2.0", "  threshold: 2.0\nspeculative: {max_share: 1.5}", 16, "speculative.max_share"),
        ("  threshold: 2.0", "  threshold: 2.0\nspeculative: {soft_threshold_mult: high}", 16, "speculative.soft_threshold_mult"),
        ("  threshold: 2.0", "  threshold: 2.0\nbreaker: {failures: -1}", 16, "breaker.failures"),
        ("  threshold: 2.0", "  threshold: 2.0\nbreaker: {failed_part: 50}", 16, "breaker.failed_part"),
        ("  threshold: 2.0", "  threshold: 2.0\nbreaker: {open: 60, open_max: 30}", 16, "breaker.open_max"),
        ("  threshold: 2.0", "  threshold: 2.0\nbreaker: {open: 0}", 16, "breaker.open"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  workers: many", 3, "server.workers"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  max_concurrent: -1", 3, "server.max_concurrent"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  request_timeout: 2d", 3, "server.request_timeout"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  drain_timeout: 10 parsecs", 3, "server.drain_timeout"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  drain_timeout: -1", 3, "server.drain_timeout"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  max_body_bytes: -1", 3, "server.max_body_bytes"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:70000]", 2, "server.listen"),
        ("listen: [127.0.0.1:0]", "listen: []", 2, "server.listen"),
        ("listen: [127.0.0.1:0]", "port: 99999", 2, "server.port"),
        ("listen: [127.0.0.1:0]", "listen: [127.0.0.1:0]\n  tls: {certificate: /nowhere.pem, key: /nowhere.key}", 3, "server.tls.certificate"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: ftp://127.0.0.1/v1", 5, "providers.cheap.base_url"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: nonsense", 5, "providers.cheap.base_url"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: 17", 5, "providers.cheap.base_url"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1\n    retries: lots", 6, "providers.cheap.retries"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1\n    headers: {\"X(A)\": b}", 6, "providers.cheap.headers.X"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1\n    retries: 11", 6, "providers.cheap.retries"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1\n    prefill: openai", 6, "providers.cheap.prefill"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1\n    max_concurrent: few", 6, "providers.cheap.max_concurrent"),
        ("small: {provider: cheap, model: small-1}", "small: {provider: cheap, model: small-1, price: {input: 1}}", 8, "models.small.price.output"),
        ("    heavyweight: large", "    heavyweight: large\n    speculative: {max_share: 2}", 14, "routes.auto.speculative.max_share"),
        ("small: {provider: cheap, model: small-1}", "small: {provider: nobody, model: small-1}", 8, "models.small.provider"),
        ("small: {provider: cheap, model: small-1}", "small: {provider: cheap, model: small-1, colour: red}", 8, "models.small.colour"),
        ("small: {provider: cheap, model: small-1}", "small: {provider: cheap, model: small-1, capabilities: [flying]}", 8, "models.small.capabilities"),
        ("    drafter: small", "    drafter: nobody", 12, "routes.auto.drafter"),
        ("    heavyweight: large", "    heavyweight: nobody", 13, "routes.auto.heavyweight"),
        ("    heavyweight: large", "    heavyweight: large\n    entropy: {threshold: x}", 14, "routes.auto.entropy.threshold"),
    ],
)
def test_a_fault_is_named_with_file_line_and_key_path(check, old, new, line, path):
    assert old in LONG
    result = check(LONG.replace(old, new, 1))
    if path in ("models.small.capabilities", "server.listen", "providers.cheap.headers.X"):
        # A list's faults may be named with their place in it, and a header's name may be cut short, for who
        # forgets a colon could have put a secret there.
        assert result.status == 1
        assert any(text.startswith(f"c.yaml:{line}: {path}") for text in result.lines), result.lines
    else:
        assert_fault(result, line, path)


def test_what_takes_effect_is_not_warned_of(check):
    text = LONG.replace("api_key: sk-never-shown", "retries: 3\n    prefill: vllm\n    max_concurrent: 8")
    text = text.replace("model: large-1}", "model: large-1, price: {input: 2, cached_input: 0.5, output: 8}}")
    text += """
stream: {mode: live, late: finish}
speculative: {enabled: true, soft_threshold_mult: 0.5, max_share: 0.1}
breaker: {failures: 3, failed_part: 0, minimum: 20, window: 1m, open: 5s, open_max: 5s}
on_heavyweight_down: draft
"""
    result = check(text)
    assert result.status == 0, result.lines
    assert result.lines == ["c.yaml: fine"]


def test_speculation_on_every_token_is_warned_of(check):
    result = check(LONG + "speculative: {soft_threshold_mult: 0}\n")
    assert result.status == 0
    assert any("c.yaml:16: speculative.soft_threshold_mult: " in line for line in result.lines), result.lines


def test_the_drafter_has_no_retries(check):
    result = check(ORIGINAL.replace("model: gpt-4.1-nano,", "model: gpt-4.1-nano, retries: 1,"), env={"OPENAI_API_KEY": "sk-x"})
    assert_fault(result, 2, "drafter.retries")
    assert check(ORIGINAL.replace("model: gpt-4.1,", "model: gpt-4.1, retries: 1, prefill: plain,"), env={"OPENAI_API_KEY": "sk-x"}).status == 0


def test_every_fault_is_reported_and_not_just_the_first(check):
    text = LONG.replace("threshold: 2.0", "threshold: x\n  window_size: y\n  nonsense: z").replace("listen: [127.0.0.1:0]", "workers: many")
    result = check(text)
    assert_fault(result, 2, "server.workers")
    assert_fault(result, 15, "entropy.threshold")
    assert_fault(result, 16, "entropy.window_size")
    assert_fault(result, 17, "entropy.nonsense")


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\t- x", "a: 'b", "- list", "just text", "a: &x 1\nb: *y\n", "%YAML 9.9\n---\n", "a: 1\n...\n---\nb: 2\n"]
)
def test_what_is_no_mapping_in_yaml_is_a_fault_with_a_line(check, text):
    result = check(text)
    assert result.status == 1
    assert any(line.startswith("c.yaml:") for line in result.lines), result.lines


@pytest.mark.parametrize("data", [b"a: \xff\n", b"a: \x00\n", b"\xfe\xff\x00a", bytes(range(128, 256)) * 10])
def test_bytes_that_are_no_text_are_a_fault(check, data):
    assert check(data).status == 1


def test_an_alias_bomb_is_a_fault_and_not_a_hang(check):
    text = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i-1}'] * 10)}]\n" for i in range(1, 12))
    assert check(text).status == 1


def test_deep_nesting_is_a_fault_and_not_a_crash(check):
    assert check("a: " + "[" * 100000).status == 1
    assert check("".join(f"{' ' * i}a:\n" for i in range(2000))).status == 1


def test_a_missing_file_is_a_failure(tmp_path):
    result = run("check", "-c", "nowhere.yaml", directory=tmp_path)
    assert result.status == 1 and any("nowhere.yaml" in line for line in result.lines)
    result = run("-c", "nowhere.yaml", directory=tmp_path)
    assert result.status == 1 and any("nowhere.yaml" in line for line in result.lines)


def test_the_daemon_does_not_start_on_a_bad_file(tmp_path):
    (tmp_path / "c.yaml").write_text(LONG.replace("threshold: 2.0", "threshold: x"))
    result = run("-c", "c.yaml", directory=tmp_path)
    assert_fault(result, 15, "entropy.threshold")


@pytest.mark.parametrize("value", ["0.25", "250ms", "30s", "5m", "0", "1.5s", "90"])
def test_durations_are_seconds_or_carry_a_unit(check, value):
    assert check(LONG.replace("listen: [127.0.0.1:0]", f"listen: [127.0.0.1:0]\n  drain_timeout: {value}")).status == 0


@pytest.mark.parametrize("value", ["250 ms s", "1y", "s", "five", "1e99", "''", "0x10", "1_000"])
def test_what_is_no_duration_is_a_fault(check, value):
    result = check(LONG.replace("listen: [127.0.0.1:0]", f"listen: [127.0.0.1:0]\n  drain_timeout: {value}"))
    assert_fault(result, 3, "server.drain_timeout")


# The command line


def test_version_and_help():
    version = run("--version")
    assert version.status == 0 and any(char.isdigit() for char in version.out)
    usage = run("--help")
    assert usage.status == 0
    for command in ("check", "simulate", "explain"):
        assert command in usage.out


@pytest.mark.parametrize("command", ["check", "simulate", "explain"])
def test_every_command_has_help(command):
    result = run(command, "--help")
    assert result.status == 0 and command in result.out and len(result.out) > 100


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["-c"], ["check", "--nonsense"], ["check", "-c"], ["simulate", "--nonsense"], ["explain"]])
def test_wrong_usage_is_exit_status_2(arguments, tmp_path):
    result = run(*arguments, directory=tmp_path)
    assert result.status == 2, result.lines
    assert result.err and not result.out


def test_the_default_file_is_looked_for_in_the_working_directory(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/draft-thinker.yaml").write_text(LONG.replace("threshold: 2.0", "threshold: x"))
    result = run("check", directory=tmp_path)
    assert result.status == 1 and any("config/draft-thinker.yaml:15: entropy.threshold: " in line for line in result.lines)


def test_without_a_file_the_defaults_hold(tmp_path):
    assert run("check", directory=tmp_path, env={"OPENAI_API_KEY": "sk-x"}).status == 0


# The environment and secrets from files


def test_values_come_from_the_environment(start, upstream):
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    gateway = start(
        env={"DT_KEY": "sk-from-env", "DT_PORT": str(upstream.port)},
        providers={"cheap": {"api_key": "${DT_KEY}", "base_url": "http://127.0.0.1:${DT_PORT}/cheap/v1"},
                   "good": {"api_key": "${DT_UNSET:-sk-default}", "base_url": "http://127.0.0.1:${DT_PORT:-1}/good/v1"}},
    )
    assert gateway.chat().status == 200
    assert upstream.wait_request("small-1").header("Authorization") == "Bearer sk-from-env"
    assert upstream.wait_request("large-1").header("Authorization") == "Bearer sk-default"


def test_numbers_come_from_the_environment(check):
    text = LONG.replace("threshold: 2.0", "threshold: ${DT_T}\n  window_size: ${DT_W:-7}")
    assert check(text, env={"DT_T": "1.5"}).status == 0
    assert_fault(check(text, env={"DT_T": "high"}), 15, "entropy.threshold")
    assert_fault(check(text, env={"DT_T": "1", "DT_W": "x"}), 16, "entropy.window_size")


def test_an_unset_variable_without_a_default_is_a_fault(check):
    line = assert_fault(check(LONG.replace("sk-never-shown", "${DT_NOT_SET}")), 6, "providers.cheap.api_key")
    assert "DT_NOT_SET" in line


@pytest.mark.parametrize("value", ["${", "${}", "${A", "${A:-", "${1A}", "${A B}", "${A:=x}"])
def test_a_malformed_reference_is_a_fault(check, value):
    assert_fault(check(LONG.replace("sk-never-shown", f"'{value}'"), env={"A": "x"}), 6, "providers.cheap.api_key")


def test_a_value_of_the_environment_cannot_bring_yaml_with_it(check):
    text = LONG.replace("model: small-1", 'model: "${DT_M}"')
    assert check(text, env={"DT_M": 'x", colour: "red'}).status == 0


def test_a_secret_can_stand_in_a_file(start, upstream, tmp_path):
    secret = tmp_path / "key"
    secret.write_text("sk-from-a-file\n")
    upstream.on("small-1", confident())
    gateway = start(providers={"cheap": {"api_key": f"file:{secret}"}})
    assert gateway.chat().status == 200
    assert upstream.wait_request("small-1").header("Authorization") == "Bearer sk-from-a-file"


def test_a_secrets_file_that_is_not_there_is_a_fault(check):
    assert_fault(check(LONG.replace("sk-never-shown", "file:/nowhere/key")), 6, "providers.cheap.api_key")


@pytest.mark.parametrize("key", ["sk a\\nb", "sk\\r\\nX-Injected: 1", "sk\\x7fx"])
def test_a_key_with_control_characters_is_a_fault(check, key):
    result = check(LONG.replace("sk-never-shown", f'"{key}"'))
    assert_fault(result, 6, "providers.cheap.api_key")
    assert "Injected" not in "\n".join(result.lines)


# The short form at work


@pytest.fixture
def short(start, upstream):
    """short(changes): a daemon on the short form, its two servers the scripted one."""

    def begin(env=None, **changes):
        text = ORIGINAL.replace("port: 8080", "listen: [127.0.0.1:0]")
        for old, new in changes.items():
            text = text.replace(old, new)
        text = text.replace("https://api.openai.com/v1", upstream.url("/v1"))
        return start(text=text, env=env)

    return begin


def test_the_short_form_serves(short, upstream):
    upstream.on("gpt-4.1-nano", confident("Paris."))
    gateway = short()
    answer = gateway.chat()
    assert answer.text == "Paris."
    assert_routed(answer, "accept", "confident", model="gpt-4.1-nano", provider="openai")
    assert upstream.requests[0].path == "/v1/chat/completions"


def test_the_short_form_escalates(short, upstream):
    upstream.on("gpt-4.1-nano", uncertain())
    upstream.on("gpt-4.1", expert("It is Paris."))
    answer = short().chat(model="")
    assert answer.text == "It is Paris."
    assert_routed(answer, "escalate", "early_exit", model="gpt-4.1", provider="openai")


def test_an_sdks_own_model_name_is_not_billed_twice(short, upstream):
    upstream.on("gpt-4.1-nano", confident())
    upstream.on("gpt-4.1", expert())
    assert_routed(short().chat(model="gpt-4.1"), "accept", "confident")
    assert [request.model for request in upstream.requests if request.path == "/v1/chat/completions"] == ["gpt-4.1-nano"]


@pytest.mark.parametrize("name, served", [("openai/gpt-4.1", "gpt-4.1"), ("openai/gpt-4.1-nano", "gpt-4.1-nano"), ("heavyweight", "gpt-4.1"), ("drafter", "gpt-4.1-nano")])
def test_the_short_forms_models_can_be_pinned(short, upstream, name, served):
    upstream.on("gpt-4.1-nano", confident())
    upstream.on("gpt-4.1", expert())
    answer = short().chat(model=name)
    assert_routed(answer, "direct", "pinned", provider="openai")
    assert [request.model for request in upstream.requests] == [served]


def test_the_openai_key_is_not_sent_to_another_host(short, upstream):
    upstream.on("gpt-4.1-nano", confident())
    gateway = short(env={"OPENAI_API_KEY": "sk-for-openai-alone"})
    assert gateway.chat().status == 200
    assert b"sk-for-openai-alone" not in upstream.requests[0].raw_head


def test_a_short_forms_server_may_have_its_own_key(start, upstream):
    text = f"""
server: {{listen: [127.0.0.1:0]}}
drafter: {{provider: local, base_url: {upstream.url('/v1')}, model: small-1, api_key: "${{K}}"}}
heavyweight: {{provider: local, base_url: {upstream.url('/v1')}, model: large-1}}
"""
    upstream.on("small-1", uncertain())
    upstream.on("large-1", expert())
    assert start(text=text, env={"K": "sk-own"}).chat().status == 200
    assert upstream.wait_request("small-1").header("Authorization") == "Bearer sk-own"
    assert upstream.wait_request("large-1").header("Authorization") is None


def test_the_short_forms_timeout_bounds_silence_and_not_the_whole_answer(start, upstream):
    text = f"""
server: {{listen: [127.0.0.1:0]}}
drafter: {{base_url: {upstream.url('/v1')}, model: small-1, timeout: 400ms}}
heavyweight: {{base_url: {upstream.url('/v1')}, model: large-1, timeout: 400ms}}
cache: {{enabled: false}}
"""
    pause = upstream.gate()

    def slow(exchange):
        exchange.head()
        for frame in f.text_frames([(f"{i} ", 0.1) for i in range(6)]):
            exchange.write(f.event(frame))
            pause.wait(0.12)  # nobody opens it: upstream speaks slowly
        exchange.write(f.DONE)
        exchange.end()

    upstream.on("small-1", slow)
    gateway = start(text=text)
    assert_routed(gateway.chat(), "accept", "confident")
    upstream.on("small-1", scripts.stall)
    upstream.on("large-1", scripts.stall)
    answer = gateway.chat()
    assert_error(answer, 504, says="first byte")
    assert_routed(answer, "escalate", "drafter_error")


def test_listening_on_every_interface_without_keys_is_warned_of(upstream, tmp_path):
    port, keeper = scripts.refusing_port()
    keeper.close()
    text = f"""
server: {{port: {port}}}
drafter: {{base_url: {upstream.url('/v1')}, model: small-1}}
heavyweight: {{base_url: {upstream.url('/v1')}, model: large-1}}
"""
    gateway = Gateway(tmp_path, text, access=False)
    gateway.start()
    try:
        assert gateway.get("/health").status == 200
        gateway.stderr.wait(lambda line: " warn " in line and "interface" in line, "a warning")
    finally:
        gateway.stop()


def test_a_port_that_is_taken_is_a_failure_and_named(tmp_path, upstream):
    # The scripted upstream's own port does not share.
    (tmp_path / "c.yaml").write_text(LONG.replace("127.0.0.1:0", f"127.0.0.1:{upstream.port}"))
    result = run("-c", "c.yaml", directory=tmp_path)
    assert result.status == 1
    assert any(str(upstream.port) in line for line in result.lines)


# Secrets


def test_no_fault_prints_a_secret(check):
    cases = [
        ("api_key: sk-never-shown", "api_key: [sk-never-shown]"),
        ("api_key: sk-never-shown", "api_key: {sk-never-shown: 1}"),
        ("api_key: sk-never-shown", "api_key: sk-never-shown\n    api_key: sk-never-shown"),
        ("api_key: sk-never-shown", 'api_key: "sk-never-shown\\n"'),
        ("api_key: sk-never-shown", "api_key: file:/nowhere\n    headers: {X-Key: [sk-never-shown]}"),
        ("api_key: sk-never-shown", "api_key: ${DT_NOT_SET:-sk-never-shown}\n    timeout: x"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://user:sk-never-shown@127.0.0.1:9/v1"),
        ("base_url: http://127.0.0.1:9/v1", "base_url: http://127.0.0.1:9/v1?key=sk-never-shown"),
    ]
    for old, new in cases:
        result = check(LONG.replace(old, new, 1), env={"DT_SECRET": "sk-never-shown"})
        text = "\n".join(result.lines)
        assert result.status == 1, (new, text)
        assert "sk-never-shown" not in text, (new, text)


def test_no_output_of_the_daemon_ever_holds_a_key(start, upstream):
    env_key, file_header = "sk-env-ABCDEF0123456789", "hdr-SECRET-0123456789"
    gateway = start(
        env={"DT_KEY": env_key},
        log={"level": "debug"},
        models={"third": {"provider": "third", "model": "third-1"}},
        providers={"third": {"base_url": upstream.url("/third/v1"), "api_key": "${DT_KEY}", "headers": {"X-Secret": file_header},
                             "idle_timeout": "200ms", "first_byte_timeout": "200ms"}},
    )
    secrets = [DRAFT_KEY, HEAVY_KEY, env_key, file_header, "sk-client-own-987654321"]
    heard = bytearray()
    client_key = [("Authorization", "Bearer sk-client-own-987654321")]

    def echo(status):
        def script(exchange):
            exchange.reply(status, {"error": {"message": exchange.request.raw_head.decode("latin-1"), "type": "x"}})
        return script

    failing = [echo(s) for s in (400, 401, 403, 404, 422, 429, 500, 503)] + list(scripts.FAILURES.values()) + [scripts.stall]
    upstream.on("small-1", scripts.failure(500))
    for script in failing:
        upstream.on("third-1", script)
        upstream.on("large-1", script if script is not scripts.stall else scripts.cut)
        for model in ("third", "auto"):
            answer = gateway.chat(model=model, headers=client_key)
            heard += answer.raw + answer.body
    for path in ("/metrics", "/v1/models", "/health", "/health/ready", "/nothing"):
        answer = gateway.request("GET", path, headers=client_key)
        heard += answer.raw + answer.body
    heard += gateway.chat(b"{", headers=client_key).body
    gateway.stop()
    said = heard.decode("latin-1") + gateway.stderr.text() + gateway.access.text()
    for secret in secrets:
        assert secret not in said
        assert secret[6:] not in said


def test_a_key_is_not_in_the_processs_arguments(gateway):
    with open(f"/proc/{gateway.pid}/cmdline", "rb") as source:
        assert b"sk-" not in source.read()
