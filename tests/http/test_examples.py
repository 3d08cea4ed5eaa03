"""The example files in config/: each passes the check, and says what its servers lack."""

import os
import re
import subprocess

import pytest

from lib.gateway import REPOSITORY, binary, environment

FILES = sorted((REPOSITORY / "config").glob("*.yaml"))
# Of the servers that give no logprobs: none of their models may draft.
WITHOUT_LOGPROBS = {"groq": "groq", "mistral": "mistral", "gemini": "gemini", "anthropic": "anthropic", "deepseek": "deepseek"}
NEEDED = {"openai", "azure", "openrouter", "groq", "mistral", "deepseek", "gemini", "anthropic", "vllm", "llama-cpp", "ollama"}
PREFILL = {"vllm": "vllm", "deepseek": "deepseek", "mistral": "mistral", "anthropic": "anthropic", "llama-cpp": "plain"}


def check(file, text):
    keys = {name: "dummy-key" for name in re.findall(r"\$\{(\w+)\}", text)}
    keys["OPENAI_API_KEY"] = "dummy-key"
    return subprocess.run([binary(), "check", "-c", str(file)], env=environment(**keys), capture_output=True, text=True,
                          timeout=60)


def drafting(text, model):
    """The file with that model as the drafter of its route auto."""
    changed, count = re.subn(r"(?m)^(  auto: \{drafter: )[\w-]+", rf"\g<1>{model}", text)
    assert count == 1
    return changed


def models(text):
    """{name: (provider, capabilities)} of the models that stand on one line."""
    found = re.findall(r"(?m)^  ([\w-]+): \{provider: ([\w-]+),.*capabilities: \[([^\]]*)\]", text)
    return {name: (provider, capabilities.split(", ")) for name, provider, capabilities in found}


def test_there_is_one_for_each_server():
    assert NEEDED <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_passes_the_check(file):
    done = check(file, file.read_text())
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.parametrize("file", [f for f in FILES if f.stem in NEEDED], ids=lambda file: file.stem)
def test_it_says_what_was_checked_and_holds_no_key(file):
    text = file.read_text()
    assert "What was checked" in text
    assert not re.search(r"sk-\w{8}|gsk_\w{8}|AIza\w{8}", text)
    for url in re.findall(r"(?m)^ +base_url: (\S+)", text):
        assert re.match(r"https://|\$\{\w+:-http://127\.0\.0\.1:|\$\{\w+:-https://", url), url
    assert "listen: [127.0.0.1:8080]" in text


@pytest.mark.parametrize("stem, provider", sorted(WITHOUT_LOGPROBS.items()))
def test_a_model_without_logprobs_is_refused_as_a_drafter(tmp_path, stem, provider):
    text = (REPOSITORY / f"config/{stem}.yaml").read_text()
    tried = [name for name, (at, can) in models(text).items() if at.startswith(provider) and can != ["embeddings"]]
    assert tried
    for name in tried:
        file = tmp_path / f"{name}.yaml"
        file.write_text(drafting(text, name))
        done = check(file, text)
        assert done.returncode == 1 and re.search(r"routes\.auto\.drafter.*logprobs", done.stderr + done.stdout), done


@pytest.mark.parametrize("stem", ["openai", "azure", "openrouter", "ollama"])
def test_a_model_that_is_declared_without_is_refused_everywhere(tmp_path, stem):
    text = (REPOSITORY / f"config/{stem}.yaml").read_text().replace(", logprobs]", "]")
    file = tmp_path / "x.yaml"
    file.write_text(text)
    done = check(file, text)
    assert done.returncode == 1 and "logprobs" in done.stderr + done.stdout


@pytest.mark.parametrize("stem, prefill", sorted(PREFILL.items()))
def test_the_way_in_which_an_answer_is_gone_on_with_is_declared(stem, prefill):
    assert f"prefill: {prefill}\n" in (REPOSITORY / f"config/{stem}.yaml").read_text()


def test_they_are_installed(tmp_path):
    done = subprocess.run(["make", "-n", "install", f"DESTDIR={tmp_path}", "PREFIX=/opt"], cwd=REPOSITORY,
                          env={**os.environ, "MAKEFLAGS": ""}, capture_output=True, text=True, timeout=60)
    folder = f"{tmp_path}/opt/share/doc/draft-thinker/examples"
    line = next(l for l in done.stdout.splitlines() if "config/openai.yaml" in l)
    assert line.endswith(folder + "/") and all(f"config/{stem}.yaml" in line for stem in NEEDED), line
