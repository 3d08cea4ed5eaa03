/*
 * A destination prepared once: the URL, checked, and the request headers in the form in which libcurl
 * walks them. Immutable, so that workers share it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "net/http_client_private.h"

/* Not sent: each is bytes on the wire and time in libcurl's formatting. `Expect` would make it wait for
 * up to a second for a 100 before it sends a body of more than 1 MiB; `Content-Type` would
 * otherwise be that of a form. */
static const char *const bare_names[] = {"Accept", "Expect", "Content-Type", NULL};

/* They frame the message, or belong to one connection. */
static const char *const own_names[] = {
        "Content-Length", "Transfer-Encoding", "Connection", "Expect", "TE", "Trailer", "Upgrade",
};

static bool
name_is_token(const char *name)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	if (!*name)
		return false;
	for (; *name; name++) {
		bool letter = (*name | 0x20) >= 'a' && (*name | 0x20) <= 'z';
		bool digit = *name >= '0' && *name <= '9';

		if (!letter && !digit && !strchr(marks, *name))
			return false;
	}
	return true;
}

static bool
name_is_own(const char *name)
{
	for (size_t i = 0; i < sizeof(own_names) / sizeof(own_names[0]); i++) {
		if (strcasecmp(name, own_names[i]) == 0)
			return true;
	}
	return false;
}

static bool
value_is_clean(const char *value)
{
	for (; *value; value++) {
		if ((unsigned char)*value < 0x20 || *value == 0x7f)
			return false;
	}
	return true;
}

/* libcurl writes the texts of a list to the wire as they stand, line ends included. */
static bool
header_check(const struct http_header *header, char *error, size_t size)
{
	if (!header->name || !name_is_token(header->name)) {
		snprintf(error, size, "a header's name has a character that is not allowed");
		return false;
	}
	if (name_is_own(header->name)) {
		snprintf(error, size, "the header %s cannot be set", header->name);
		return false;
	}
	if (!header->value || !value_is_clean(header->value)) {
		snprintf(error, size, "the value of the header %s has a control character",
		         header->name);
		return false;
	}
	return true;
}

/* Where the terminated text ends; the caller made room for it. */
static char *
line_write(char *at, const char *name, const char *mark, const char *value)
{
	return stpcpy(stpcpy(stpcpy(at, name), mark), value) + 1;
}

bool
header_list_make(struct header_list *list, const struct http_header *headers, size_t count,
                 const char *const *bare, struct curl_slist *next, char *error, size_t size)
{
	size_t nodes = count, text_bytes = 0, bare_count = 0;
	struct curl_slist *node;
	char *text;

	*list = (struct header_list){.first = next};
	for (size_t i = 0; i < count; i++) {
		if (!header_check(&headers[i], error, size))
			return false;
		text_bytes += strlen(headers[i].name) + strlen(headers[i].value) + sizeof(": ");
	}
	for (; bare && bare[bare_count]; bare_count++)
		text_bytes += strlen(bare[bare_count]) + sizeof(":");
	nodes += bare_count;
	if (nodes == 0)
		return true;
	list->memory = mem_try(nodes * sizeof(*node) + text_bytes);
	if (!list->memory) {
		snprintf(error, size, "out of memory");
		return false;
	}
	node = list->memory;
	text = (char *)(node + nodes);
	list->first = node;
	for (size_t i = 0; i < nodes; i++, node++) {
		node->data = text;
		node->next = i + 1 < nodes ? node + 1 : next;
		/* A bare `Name:` takes a header away; `Name;` sends one without a value. */
		if (i >= count)
			text = line_write(text, bare[i - count], ":", "");
		else if (!*headers[i].value)
			text = line_write(text, headers[i].name, ";", "");
		else
			text = line_write(text, headers[i].name, ": ", headers[i].value);
	}
	return true;
}

void
header_list_fini(struct header_list *list)
{
	free(list->memory);
	*list = (struct header_list){0};
}

static bool
part_is(CURLU *url, CURLUPart part, const char *text)
{
	char *value = NULL;
	bool same;

	if (curl_url_get(url, part, &value, 0) != CURLUE_OK)
		return false;
	same = !text || strcmp(value, text) == 0;
	curl_free(value);
	return same;
}

static const char *
url_fault(CURLU *parsed, const char *url)
{
	/* The scheme is compared with what libcurl made of it, which is in lower case. */
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK)
		return "is not a URL";
	if (!part_is(parsed, CURLUPART_SCHEME, "http") &&
	    !part_is(parsed, CURLUPART_SCHEME, "https"))
		return "is neither http nor https";
	if (part_is(parsed, CURLUPART_USER, NULL) || part_is(parsed, CURLUPART_PASSWORD, NULL))
		return "holds a user name or a password";
	if (part_is(parsed, CURLUPART_FRAGMENT, NULL))
		return "has a fragment";
	return value_is_clean(url) ? NULL : "has a control character";
}

/* The given headers and our name, unless one is given. In this list it costs half of what libcurl's own
 * option for it does, which is formatted twice. */
static bool
target_set_headers(struct http_target *target, const struct http_header *headers, size_t count,
                   char *error, size_t size)
{
	struct http_header *all = mem_array(count + 1, sizeof(*all));
	size_t n = 0;
	bool named = false, made;

	for (; n < count; n++) {
		all[n] = headers[n];
		named |= all[n].name && strcasecmp(all[n].name, "User-Agent") == 0;
	}
	if (!named)
		all[n++] = (struct http_header){"User-Agent", "draft-thinker/" DT_VERSION};
	made = header_list_make(&target->headers, all, n, bare_names, NULL, error, size);
	free(all);
	return made;
}

struct http_target *
http_target_new(const char *url, const struct http_header *headers, size_t count, char *error,
                size_t size)
{
	struct http_target *target;
	CURLU *parsed = curl_url();
	const char *fault;

	if (!parsed) {
		snprintf(error, size, "out of memory");
		return NULL;
	}
	target = mem_new(sizeof(*target));
	target->parsed = parsed;
	target->url = mem_copy(bytes_of(url));
	fault = url_fault(parsed, url);
	if (fault)
		snprintf(error, size, "the URL %s", fault);
	if (fault || !target_set_headers(target, headers, count, error, size)) {
		http_target_free(target);
		return NULL;
	}
	return target;
}

void
http_target_free(struct http_target *target)
{
	if (!target)
		return;
	header_list_fini(&target->headers);
	curl_url_cleanup(target->parsed);
	free(target->url);
	free(target);
}
