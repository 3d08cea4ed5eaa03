/*
 * The key of whatever request is accepted is that of a plain reference, which builds the canonical form value
 * by value; it stays the same when the request is written in another way (members in another order, white space,
 * escapes, members that do not shape the answer), and becomes another with any other value in it.
 *
 * Input: four bytes, the seed of what is rewritten, then the body.
 */
#include "wire/chat_key.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);

static void
check(bool holds, const char *what)
{
	if (!holds)
		die("%s", what);
}

static const char *const left_out[] = {"model",    "stream",     "stream_options", "user",
                                       "metadata", "request_id", "project_id"};

static bool
is_left_out(struct bytes key)
{
	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
		if (json_key_is(key, left_out[i]))
			return true;
	}
	return false;
}

/* The members of one object. */
struct list {
	struct entry {
		struct bytes key; /* in the text, without quotes */
		struct json_value value;
		struct buf spelled; /* the key as the reference spells it */
		size_t place;
	} * entries;
	size_t n;
};

/* One code unit of UTF-16, or a byte of UTF-8 that stands for itself. */
static unsigned
unit_at(const char **p)
{
	const char *q = *p, *escape;
	char digits[5] = "";

	*p += 1;
	if (*q != '\\')
		return (unsigned char)*q;
	*p += 1;
	escape = strchr("b\bf\fn\nr\rt\t", q[1]);
	if (q[1] != 'u')
		return (unsigned char)(escape ? escape[1] : q[1]);
	memcpy(digits, q + 2, 4);
	*p += 4;
	return (unsigned)strtoul(digits, NULL, 16) | 1U << 16;
}

static void
reference_unit(unsigned c, struct buf *out)
{
	static const char meant[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	const char *at = c && c < 0x80 ? strchr(meant, (int)c) : NULL;

	if (at)
		buf_add_format(out, "\\%c", letters[at - meant]);
	else if (c < 0x20 || (c >= 0xD800 && c <= 0xDFFF))
		buf_add_format(out, "\\u%04x", c);
	else if (c < 0x80)
		buf_add_format(out, "%c", (int)c);
	else if (c < 0x800)
		buf_add_format(out, "%c%c", (int)(0xC0 | c >> 6), (int)(0x80 | (c & 0x3F)));
	else
		buf_add_format(out, "%c%c%c", (int)(0xE0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3F)),
		               (int)(0x80 | (c & 0x3F)));
}

/* text: between the quotes. */
static void
reference_string(struct bytes text, struct buf *out)
{
	const char *p = text.p, *end = text.p + text.n;

	buf_add(out, "\"", 1);
	while (p < end) {
		unsigned unit = unit_at(&p), low = 0;
		const char *next = p;

		if (unit >= 0x80 && unit < 0x100) {
			buf_add_format(out, "%c", (int)unit);
			continue;
		}
		unit &= 0xFFFF;
		if (unit >= 0xD800 && unit < 0xDC00 && p < end)
			low = unit_at(&next);
		if (low >= 0x1DC00 && low <= 0x1DFFF) {
			unsigned c = 0x10000 + (unit - 0xD800) * 0x400 + (low - 0x1DC00);

			buf_add_format(out, "%c%c%c%c", (int)(0xF0 | c >> 18),
			               (int)(0x80 | (c >> 12 & 0x3F)),
			               (int)(0x80 | (c >> 6 & 0x3F)), (int)(0x80 | (c & 0x3F)));
			p = next;
		} else {
			reference_unit(unit, out);
		}
	}
	buf_add(out, "\"", 1);
}

static struct bytes
inside(struct json_value string)
{
	return (struct bytes){string.p + 1, string.n - 2};
}

static struct list
list_of(struct json_value object)
{
	struct json_member member;
	struct json_value value;
	struct json_scan s;
	struct list list = {NULL, 0};

	json_scan_init(&s, json_value_text(object));
	json_enter(&s, JSON_KIND_OBJECT);
	while (json_next_member(&s, &member) && json_take(&s, &value)) {
		struct entry entry = {member.key, value, {0}, list.n};

		reference_string(member.key, &entry.spelled);
		list.entries = mem_resize(list.entries, list.n + 1, sizeof(entry));
		list.entries[list.n++] = entry;
	}
	return list;
}

static void
list_fini(struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		buf_fini(&list->entries[i].spelled);
	free(list->entries);
}

static int
spelled_compare(const struct entry *a, const struct entry *b)
{
	size_t least = a->spelled.n < b->spelled.n ? a->spelled.n : b->spelled.n;
	int order = memcmp(a->spelled.p, b->spelled.p, least);

	return order ? order : (a->spelled.n > b->spelled.n) - (a->spelled.n < b->spelled.n);
}

static int
entry_compare(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	int order = spelled_compare(a, b);

	return order ? order : (a->place > b->place) - (a->place < b->place);
}

static struct json_value
member_of(struct json_value object, const char *name)
{
	struct json_value found = {.kind = JSON_KIND_NONE};
	struct list list = {NULL, 0};

	if (object.kind == JSON_KIND_OBJECT)
		list = list_of(object);
	for (size_t i = 0; i < list.n; i++) {
		if (json_key_is(list.entries[i].key, name)) {
			/* Twice: as none. */
			if (found.kind != JSON_KIND_NONE) {
				found.kind = JSON_KIND_NONE;
				break;
			}
			found = list.entries[i].value;
		}
	}
	list_fini(&list);
	return found;
}

struct reference {
	/* The texts of the question, by where they stand. */
	const char *texts[4096];
	size_t count;
	struct buf question, spelled;
};

static void
reference_add_text(struct reference *r, struct json_value text)
{
	if (r->count > 0)
		buf_add(&r->question, "\n", 1);
	check(r->count < sizeof(r->texts) / sizeof(r->texts[0]), "room for texts");
	r->texts[r->count++] = text.p;
	json_string_decode(text, &r->question);
	reference_string(inside(text), &r->spelled);
}

static void
reference_find(struct reference *r, const struct chat_request *request)
{
	struct json_value message = {.kind = JSON_KIND_NONE}, content, value;
	struct json_scan s;
	bool good = true, blank = true;

	json_scan_init(&s, json_value_text(request->slots[CHAT_MESSAGES].value));
	json_enter(&s, JSON_KIND_ARRAY);
	while (json_next_element(&s))
		json_take(&s, &message);
	content = member_of(message, "content");
	if (content.kind == JSON_KIND_STRING)
		reference_add_text(r, content);
	json_scan_init(&s, json_value_text(content));
	if (content.kind == JSON_KIND_ARRAY && json_enter(&s, JSON_KIND_ARRAY)) {
		while (json_next_element(&s) && json_take(&s, &value)) {
			struct json_value text = member_of(value, "text");

			if (text.kind == JSON_KIND_STRING &&
			    json_string_is(member_of(value, "type"), "text"))
				reference_add_text(r, text);
			else
				good = false;
		}
	}
	for (size_t i = 0; i < r->question.n; i++)
		blank = blank && strchr(" \t\n\v\f\r", r->question.p[i]) && r->question.p[i];
	if (!good || blank || !json_string_is(member_of(message, "role"), "user"))
		r->count = 0;
}

static void
reference_value(const struct reference *r, struct json_value value, bool keeps_order, bool top,
                struct buf *out)
{
	struct json_value element;
	struct json_scan s;
	struct list list;
	bool first = true;

	for (size_t i = 0; i < r->count; i++) {
		if (r->texts[i] == value.p) {
			buf_add(out, "?", 1);
			return;
		}
	}
	if (value.kind == JSON_KIND_STRING) {
		reference_string(inside(value), out);
	} else if (value.kind == JSON_KIND_ARRAY) {
		buf_add(out, "[", 1);
		json_scan_init(&s, json_value_text(value));
		json_enter(&s, JSON_KIND_ARRAY);
		for (; json_next_element(&s) && json_take(&s, &element); first = false) {
			buf_add_text(out, first ? "" : ",");
			reference_value(r, element, false, false, out);
		}
		buf_add(out, "]", 1);
	} else if (value.kind == JSON_KIND_OBJECT) {
		buf_add(out, "{", 1);
		list = list_of(value);
		if (list.n > 1 && !keeps_order)
			qsort(list.entries, list.n, sizeof(*list.entries), entry_compare);
		for (size_t i = 0; i < list.n; i++) {
			struct entry *e = &list.entries[i];

			if (top && (e->value.kind == JSON_KIND_NULL || is_left_out(e->key)))
				continue;
			buf_add_text(out, first ? "" : ",");
			buf_add_bytes(out, buf_bytes(&e->spelled));
			buf_add(out, ":", 1);
			reference_value(r, e->value, json_key_is(e->key, "properties"), false, out);
			first = false;
		}
		list_fini(&list);
		buf_add(out, "}", 1);
	} else {
		buf_add_bytes(out, json_value_text(value));
	}
}

static struct json_value
object_of(const struct chat_request *request)
{
	const struct json_object_span *o = &request->object;

	return (struct json_value){o->open, (size_t)(o->close + 1 - o->open), JSON_KIND_OBJECT};
}

static void
check_reference(const struct chat_request *request, const struct chat_key *key)
{
	struct reference *r = mem_new(sizeof(*r));
	struct buf out, exact;
	struct sha256 digest;

	buf_init(&out, 0);
	buf_init(&exact, 0);
	reference_find(r, request);
	check(key->has_question == (r->count > 0), "is it a question?");
	buf_add(&out, r->count ? "s\2\0\0\0\0\0\0\0id" : "r\2\0\0\0\0\0\0\0id", 11);
	reference_value(r, object_of(request), false, true, &out);
	digest = sha256_of(buf_bytes(&out));
	if (r->count > 0) {
		check(sha256_equal(&digest, &key->scope), "scope");
		check(bytes_equal(buf_bytes(&r->question), buf_bytes(&key->question)), "question");
		buf_add(&exact, "q", 1);
		buf_add(&exact, digest.bytes, sizeof(digest.bytes));
		buf_add_bytes(&exact, buf_bytes(&r->spelled));
		digest = sha256_of(buf_bytes(&exact));
	}
	check(sha256_equal(&digest, &key->exact), "exact");
	buf_fini(&out);
	buf_fini(&exact);
	buf_fini(&r->question);
	buf_fini(&r->spelled);
	free(r);
}

/* Writes a request in another way. */
struct writer {
	uint32_t random;
	bool plain;     /* in its own way, after all */
	size_t scalars; /* that were written and count */
	size_t change;  /* which of them gets another value; SIZE_MAX: none */
	struct buf out;
};

static unsigned
draw(struct writer *w, unsigned below)
{
	w->random = w->random * 1664525 + 1013904223;
	return w->plain ? 0 : (w->random >> 8) % below;
}

static void
write_space(struct writer *w)
{
	static const char *const spaces[] = {"", "", "", " ", "\n", "\t", "\r", " \r\n "};

	buf_add_text(&w->out, spaces[draw(w, 8)]);
}

/* text: with its quotes. */
static void
write_string(struct writer *w, struct bytes text)
{
	const char *p = text.p, *end = text.p + text.n - 1;

	buf_add(&w->out, p++, 1);
	while (p < end) {
		const char *begin = p;
		unsigned unit = unit_at(&p);
		bool upper = draw(w, 2);

		/* A byte of UTF-8 stays what it is. */
		if (draw(w, 3) == 0 || (unit >= 0x80 && unit < 0x10000))
			buf_add(&w->out, begin, (size_t)(p - begin));
		else
			buf_add_format(&w->out, upper ? "\\u%04X" : "\\u%04x", unit & 0xFFFF);
	}
	buf_add(&w->out, "\"", 1);
}

/* The value, or another one if it is this one's turn. */
static void
write_scalar(struct writer *w, struct json_value value)
{
	bool changed = w->scalars++ == w->change;

	if (value.kind == JSON_KIND_STRING) {
		write_string(w, json_value_text(value));
		if (changed) {
			w->out.n--;
			buf_add_text(&w->out, "x\"");
		}
	} else if (value.kind == JSON_KIND_NUMBER) {
		bool has_end = strchr("0", value.p[value.n - 1]) != NULL;

		buf_add(&w->out, value.p, value.n - (changed && has_end));
		buf_add_text(&w->out, !changed ? "" : has_end ? "1" : "0");
	} else if (changed) {
		buf_add_text(&w->out, value.kind == JSON_KIND_TRUE ? "false" : "true");
	} else {
		buf_add_bytes(&w->out, json_value_text(value));
	}
}

/* Puts the members in another order, unless two of them have one key. */
static void
shuffle(struct writer *w, struct list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		for (size_t k = 0; k < i; k++) {
			if (spelled_compare(&list->entries[i], &list->entries[k]) == 0)
				return;
		}
	}
	for (size_t i = list->n; i-- > 1;) {
		size_t k = draw(w, (unsigned)i + 1);
		struct entry moved = list->entries[i];

		if (w->plain)
			return;
		list->entries[i] = list->entries[k];
		list->entries[k] = moved;
	}
}

static void write_value(struct writer *w, struct json_value value, bool keeps_order, bool top);

static void
write_member(struct writer *w, const struct entry *e, bool top)
{
	size_t scalars = w->scalars, change = w->change;

	write_string(w, (struct bytes){e->key.p - 1, e->key.n + 2});
	write_space(w);
	buf_add(&w->out, ":", 1);
	if (top && is_left_out(e->key)) {
		w->change = SIZE_MAX;
		write_value(w, e->value, false, false);
		w->change = change;
		w->scalars = scalars;
	} else {
		write_value(w, e->value, json_key_is(e->key, "properties"), false);
	}
}

static void
write_value(struct writer *w, struct json_value value, bool keeps_order, bool top)
{
	struct json_value element;
	struct json_scan s;
	struct list list;
	bool first = true;

	write_space(w);
	if (value.kind == JSON_KIND_ARRAY) {
		buf_add(&w->out, "[", 1);
		json_scan_init(&s, json_value_text(value));
		json_enter(&s, JSON_KIND_ARRAY);
		for (; json_next_element(&s) && json_take(&s, &element); first = false) {
			buf_add_text(&w->out, first ? "" : ",");
			write_value(w, element, false, false);
		}
		buf_add(&w->out, "]", 1);
	} else if (value.kind == JSON_KIND_OBJECT) {
		buf_add(&w->out, "{", 1);
		list = list_of(value);
		if (!keeps_order)
			shuffle(w, &list);
		for (size_t i = 0; i < list.n; i++, first = false) {
			buf_add_text(&w->out, first ? "" : ",");
			write_space(w);
			write_member(w, &list.entries[i], top);
		}
		if (top && draw(w, 2))
			buf_add_text(&w->out, ",\"user\":\"me\",\"unheard-of\":null");
		list_fini(&list);
		buf_add(&w->out, "}", 1);
	} else {
		write_scalar(w, value);
	}
	write_space(w);
}

/* The rewritten request is read and its key made. False: it is not accepted. */
static bool
rewritten_key(struct writer *w, const struct chat_request *request, struct chat_key *key)
{
	struct chat_request again;
	struct api_error error;
	bool good;

	buf_init(&w->out, 0);
	w->scalars = 0;
	write_value(w, object_of(request), false, true);
	check(!w->out.failed, "no memory");
	good = chat_request_read(&again, buf_bytes(&w->out), &error);
	if (good)
		check(chat_key_make(key, &again, bytes_of("id")), "no memory");
	buf_fini(&w->out);
	return good;
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	struct writer w = {.change = SIZE_MAX};
	struct chat_request request;
	struct chat_key key, other;
	struct api_error error;
	char *body;

	if (n < 4)
		return 0;
	memcpy(&w.random, input, 4);
	body = mem_new(n);
	memcpy(body, input + 4, n - 4);
	if (chat_request_read(&request, (struct bytes){body, n - 4}, &error)) {
		check(chat_key_make(&key, &request, bytes_of("id")), "no memory");
		check_reference(&request, &key);
		check(rewritten_key(&w, &request, &other), "rewritten: not accepted");
		check(sha256_equal(&key.exact, &other.exact), "rewritten: another key");
		check(sha256_equal(&key.scope, &other.scope), "rewritten: another scope");
		chat_key_fini(&other);
		if (w.scalars > 0) {
			w.change = draw(&w, (unsigned)w.scalars);
			w.plain = true;
			if (rewritten_key(&w, &request, &other)) {
				check(!sha256_equal(&key.exact, &other.exact),
				      "changed: the same key");
				chat_key_fini(&other);
			}
		}
		chat_key_fini(&key);
	}
	free(body);
	return 0;
}
