#include "wire/redact.h"

#include <strings.h>

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '*' || c == '.';
}

static bool
has_secret_prefix(const char *p, size_t n)
{
	static const char *const prefixes[] = {"sk-",   "sk_",   "pk-",  "rk-",  "org-", "org_",
	                                       "proj-", "proj_", "AIza", "gsk_", "hf_",  "xai-",
	                                       "sess-", "r8_",   "key-", "ghp_", "eyJ"};

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t length = strlen(prefixes[i]);

		/* A bare prefix is a word of the language; a key goes on. */
		if (n >= length + 4 && memcmp(p, prefixes[i], length) == 0)
			return true;
	}
	return false;
}

/* Length of the word at p. */
static size_t
word_length(const char *p, const char *end)
{
	const char *q = p;

	while (q < end && is_word(*q))
		q++;
	return (size_t)(q - p);
}

/* How many bytes at p are secret; 0: none. `start` tells whether a word begins here. */
static size_t
secret_length(const char *p, const char *end, bool start, bool after_bearer,
              const char *const *keys)
{
	size_t n;

	for (; *keys; keys++) {
		n = strlen(*keys);
		if (n >= 4 && (size_t)(end - p) >= n && memcmp(p, *keys, n) == 0)
			return n;
	}
	if (!start)
		return 0;
	n = word_length(p, end);
	return n > 0 && (after_bearer || has_secret_prefix(p, n)) ? n : 0;
}

void
redact(struct bytes text, const char *const *keys, size_t max, struct buf *out)
{
	const char *p = text.p, *end = text.p + text.n;
	size_t first = out->n;
	bool start = true, after_bearer = false;

	while (p < end && out->n - first < max) {
		size_t n = secret_length(p, end, start, after_bearer, keys);

		if (n > 0) {
			buf_add_text(out, "[redacted]");
			p += n;
			start = after_bearer = false;
			continue;
		}
		if (start && (n = word_length(p, end)) > 0)
			after_bearer = n == 6 && strncasecmp(p, "bearer", 6) == 0;
		start = !is_word(*p);
		buf_add(out, p++, 1);
	}
	/* "[redacted]" may have gone past the limit. */
	if (out->n - first > max)
		out->n = first + max;
	/* A character may have been cut in two: its beginning goes too. */
	if (p < end && ((unsigned char)*p & 0xC0) == 0x80) {
		while (out->n > first && ((unsigned char)out->p[out->n - 1] & 0xC0) == 0x80)
			out->n--;
		if (out->n > first && (unsigned char)out->p[out->n - 1] >= 0xC0)
			out->n--;
	}
}
