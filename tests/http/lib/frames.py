"""What a model server says: logprobs with a wanted entropy, frames of a stream, whole completions.

Everything here is plain data; upstream.py and scripts.py put it on the wire.
"""

import json
import math

ABSENT = object()
ZERO_LOGPROB = -9999.0  # how OpenAI spells "not in the top 20"


def bound(probabilities):
    """The entropy of one token in bits, its unseen tail counted as the smallest candidate says."""
    seen = [p for p in probabilities if p > 0]
    tail = max(0.0, 1.0 - sum(seen))
    return sum(-p * math.log2(p) for p in seen) + tail * -math.log2(min(seen))


def renormalised(probabilities):
    """The entropy of the candidates alone, divided by their sum."""
    total = sum(probabilities)
    return sum(-(p / total) * math.log2(p / total) for p in probabilities if p > 0)


def candidates(bits, k=5):
    """k probabilities, largest first, whose bound entropy is `bits`.

    Up to log2(k) there is no tail: one large candidate and k - 1 equal small ones. Above, k equal
    candidates of 2^-bits leave a tail, which counts as log2(1/p) = bits for each of its parts too.
    """
    if bits <= 0:
        return [1.0] + [0.0] * (k - 1)
    if k == 1 or bits >= math.log2(k):
        return [2.0**-bits] * k
    low, high = 1.0 / k, 1.0  # the entropy falls as the large one grows
    for _ in range(200):
        middle = (low + high) / 2
        if bound([middle] + [(1 - middle) / (k - 1)] * (k - 1)) > bits:
            low = middle
        else:
            high = middle
    return [high] + [(1 - high) / (k - 1)] * (k - 1)


def logprob(p):
    return math.log(p) if p > 0 else ZERO_LOGPROB


def token(text, bits=0.1, k=5):
    """One entry of logprobs.content whose entropy is `bits`; the sampled token is the likeliest."""
    texts = [text] + [f"~{i}" for i in range(1, k)]
    top = [
        {"token": t, "logprob": logprob(p), "bytes": list(t.encode("utf-8", "surrogatepass"))}
        for t, p in zip(texts, candidates(bits, k))
    ]
    return {**top[0], "top_logprobs": top}


def token_of(text, logprobs, sampled=None):
    """One entry with these very logprobs as its candidates. sampled: the token's own, if not the first."""
    top = [
        {"token": text if i == 0 and sampled is None else f"~{i}", "logprob": value, "bytes": None}
        for i, value in enumerate(logprobs)
    ]
    own = sampled if sampled is not None else logprobs[0] if logprobs else None
    return {"token": text, "logprob": own, "bytes": None, "top_logprobs": top}


def tokens_of(text):
    """Cuts a text as a tokeniser might: words with the blank in front of them."""
    parts, word = [], ""
    for char in text:
        if char == " " and word:
            parts.append(word)
            word = ""
        word += char
    return parts + [word] if word else parts


def chunk(delta, *, finish=None, index=0, entries=ABSENT, usage=ABSENT, head=None):
    """One chat.completion.chunk with one choice. entries: a list of logprob entries, or None (null)."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    if entries is not ABSENT:
        choice["logprobs"] = None if entries is None else {"content": entries, "refusal": None}
    frame = {**(head or HEAD), "choices": [choice]}
    if usage is not ABSENT:
        frame["usage"] = usage
    return frame


HEAD = {
    "id": "chatcmpl-scripted",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "scripted-1",
    "system_fingerprint": "fp_scripted",
}


def head(**members):
    return {**HEAD, **members}


def usage(prompt=11, completion=7, **members):
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **members,
    }


def text_frames(pairs, *, finish="stop", k=5, logprobs=True, usage=ABSENT, head=None, role=True):
    """The frames of an answer in text, as OpenAI cuts them: role, one token a frame, finish, usage.

    pairs: (text, bits) each. usage: a dict adds `usage: null` to each frame and the usage frame at
    the end, as include_usage does.
    """
    null = ABSENT if usage is ABSENT else None
    frames = []
    if role:
        first = {"role": "assistant", "content": "", "refusal": None}
        frames.append(chunk(first, entries=None if logprobs else ABSENT, usage=null, head=head))
    for text, bits in pairs:
        entries = [token(text, bits, k)] if logprobs else ABSENT
        frames.append(chunk({"content": text}, entries=entries, usage=null, head=head))
    if finish is not None:
        frames.append(chunk({}, finish=finish, entries=None if logprobs else ABSENT, usage=null, head=head))
    if usage is not ABSENT:
        frames.append(usage_frame(usage, head=head))
    return frames


def tool_frames(calls, *, bits=0.1, logprobs=False, usage=ABSENT, head=None, content=None):
    """The frames of an answer with tool calls: (id, name, arguments) each, the arguments in pieces."""
    null = ABSENT if usage is ABSENT else None

    def entries(text):
        return [token(text, bits)] if logprobs else ABSENT

    frames = [chunk({"role": "assistant", "content": content}, usage=null, head=head)]
    for index, (call_id, name, arguments) in enumerate(calls):
        start = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        frames.append(chunk({"tool_calls": [start]}, entries=entries(name), usage=null, head=head))
        for at in range(0, len(arguments), 5):
            piece = arguments[at : at + 5]
            part = {"index": index, "function": {"arguments": piece}}
            frames.append(chunk({"tool_calls": [part]}, entries=entries(piece), usage=null, head=head))
    frames.append(chunk({}, finish="tool_calls", usage=null, head=head))
    if usage is not ABSENT:
        frames.append(usage_frame(usage, head=head))
    return frames


def usage_frame(counts, head=None):
    return {**(head or HEAD), "choices": [], "usage": counts}


def completion(text="", *, finish="stop", usage=None, head=None, tool_calls=None, entries=ABSENT):
    """A whole chat.completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    if tool_calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish}
    if entries is not ABSENT:
        choice["logprobs"] = {"content": entries, "refusal": None}
    answer = {**(head or HEAD), "object": "chat.completion", "choices": [choice]}
    if usage is not None:
        answer["usage"] = usage
    return answer


def dump(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def event(payload):
    """One server-sent event. payload: an object, or the bytes or text of its data."""
    if isinstance(payload, str):
        payload = payload.encode()
    elif not isinstance(payload, bytes):
        payload = dump(payload)
    return b"data: " + payload + b"\n\n"


DONE = b"data: [DONE]\n\n"
