"""Configurations at random: any that the file may hold, so far as it makes a difference under load."""

import json
import re

INSTEAD = ("", "nowhere", "null", "[]", "{}", "-1", "0", "e")


def configuration(choose, simulator, directory):
    """choose: a random.Random. Nobody is at home at one of the providers."""
    pick = choose.choice
    return {
        "server": {
            "listen": ["127.0.0.1:0"], "workers": 2, "drain_timeout": 20, "max_body_bytes": 3000000,
            "max_connections": pick((0, 60, 10000)), "max_concurrent": pick((0, 0, 20)), "request_timeout": pick((1, 3, 600)),
            "keepalive_interval": pick((0, "50ms", 15)), "read_timeout": pick(("500ms", 2)), "idle_timeout": pick(("300ms", 60)),
        },
        "providers": {
            "a": {
                "base_url": simulator.url, "retries": pick((0, 1, 2)), "max_concurrent": pick((0, 0, 5)),
                "first_byte_timeout": pick(("300ms", 2)), "idle_timeout": pick(("300ms", 1)), "stream_usage": pick((True, False)),
                "prefill": pick(("none", "plain", "vllm", "deepseek", "mistral", "anthropic")),
            },
            "b": {"base_url": simulator.url, "retries": 1, "first_byte_timeout": 1, "idle_timeout": "500ms"},
            "dead": {"base_url": "http://127.0.0.1:9/v1"},
        },
        "models": {
            "small": {"provider": "a", "price": {"input": 1, "output": 2}},
            "big": {"provider": "b", "price": {"input": 3, "output": 9}},
            "huge": {"provider": "b"},
            "tiny": {"provider": "dead"},
            "e": {"provider": "a", "capabilities": ["embeddings"]},
        },
        "routes": {
            "auto": {"drafter": "small", "heavyweight": ["big", "huge"]},
            "lists": {
                "drafter": ["tiny", "small"], "heavyweight": ["tiny", "big"], "on_heavyweight_down": "draft",
                "cache": {"embedding_model": pick(("e", "words"))},
            },
            "pool": {"models": ["big", "huge", "tiny"], "strategy": pick(("order", "health", "weighted"))},
            "eager": {
                "drafter": "small", "heavyweight": "big", "cache": {"enabled": False},
                "speculative": {"soft_threshold_mult": 0.1},
            },
        },
        "stream": {"mode": pick(("live", "hold")), "late": pick(("handoff", "finish"))},
        "unknown_model": pick(("default", "reject")),
        "breaker": {"failures": pick((0, 5, 50)), "open": pick(("50ms", 1))},
        "cache": {
            "max_bytes": pick((0, "64KiB", "1MiB")), "max_entries": pick((3, 100, 1000)), "ttl_seconds": pick(("100ms", 3600)),
            "file": str(directory / "answers"), "file_interval": pick(("200ms", 60)),
        },
        "log": {"access": str(directory / "access.log")},
    }


def spoilt(choose, config):
    """Its text with one key or value replaced: mostly at fault, and sometimes another configuration."""
    text = json.dumps(config)
    word = choose.choice(list(re.finditer(r'"[^"]*"|[\w.]+', text)))
    return text[:word.start()] + choose.choice(INSTEAD) + text[word.end():]
