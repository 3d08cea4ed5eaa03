/*
 * The canonical form is made in two passes, each linear but for the sorting. The first walks the body and writes
 * `text`: canonical, but with members in the order in which they came; of each object that is not sorted it notes
 * where it and its members stand. The second copies that text with the members of these objects in their order.
 * Sorted in place, the innermost would be moved once for each level above it.
 *
 * What is digested, each kind with a first byte of its own:
 *
 *	without a question   exact = 'r', identity, request
 *	with one             scope = 's', identity, request with a ? for each text of the question
 *	                     exact = 'q', scope, these texts
 *
 * Before the identity stands its length. A ? outside of a string is not JSON. The texts are JSON strings, which end
 * by themselves, and the scope tells how many there are. So what is digested can be read in one way only.
 */
#include "wire/chat_key.h"

#include <endian.h>

#include "wire/json_keys.h"

/* How deep the containers are that are treated in their own way: the request, the objects in
 * messages[].content. */
enum { DEPTH_REQUEST = 1, DEPTH_PART = 5 };

/* A member of an object, as offsets in the text. */
struct member {
	uint64_t head;         /* the first bytes of the key as a number in the order of keys */
	uint32_t begin, key_n; /* its key, with quotes */
	uint32_t end;
	uint32_t objects; /* how many there were when it ended: what is inside it is among them */
};

/* An object whose members are not in their order. In the list it stands behind those inside it. */
struct object {
	uint32_t begin, end;
	uint32_t member, count; /* its members among the sorted ones */
	uint32_t objects;       /* how many there were when it began */
};

/* A container that the walk is in. */
struct level {
	uint32_t begin;
	uint32_t member;  /* its first one among the open ones */
	uint32_t objects; /* how many there were when it began */
	bool is_object, is_messages;
	bool keeps_order;
	bool has_items;
};

struct canon {
	const struct chat_request *request; /* borrowed */
	struct json_scan scan;
	struct level levels[JSON_DEPTH_MAX + 1]; /* [0] stands for what is around the body */
	uint32_t depth;
	struct bytes key; /* in the text, of the member whose value comes next; in an array empty */
	unsigned message_count; /* those that were begun */
	/* All of these are owned. */
	struct buf text;
	struct buf open;    /* struct member: of the containers that the walk is in */
	struct buf sorted;  /* struct member: of the objects */
	struct buf objects; /* struct object */
	/* In the body the value of the last message's content, if that is a question; what it says; and its
	 * texts, spelled one after the other behind room for what is digested before them. */
	struct bytes content;
	struct buf question, spelled;
};

enum { SPELLED_HEAD = 1 + sizeof(struct sha256) };

static inline struct member *
members_of(const struct buf *list)
{
	return (struct member *)(void *)list->p;
}

static inline struct object *
objects_of(const struct buf *list)
{
	return (struct object *)(void *)list->p;
}

static inline uint32_t
members_count(const struct buf *list)
{
	return (uint32_t)(list->n / sizeof(struct member));
}

static inline uint32_t
objects_count(const struct canon *c)
{
	return (uint32_t)(c->objects.n / sizeof(struct object));
}

/* The text never grows beyond the body, for which there is room. */
static inline void
put(struct canon *c, char byte)
{
	c->text.p[c->text.n++] = byte;
}

static bool
is_blank(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != ' ' && (text.p[i] < '\t' || text.p[i] > '\r'))
			return false;
	}
	return true;
}

/* Takes one part of a content for the question. False: it is no text. */
static bool
add_part(struct canon *c, struct json_scan *s)
{
	struct json_value text = {.kind = JSON_KIND_NONE}, value;
	struct json_member member;
	bool is_text = false;

	if (!json_enter(s, JSON_KIND_OBJECT))
		return false;
	while (json_next_member(s, &member) && json_take(s, &value)) {
		if (json_key_is(member.key, "type")) {
			is_text = json_string_is(value, "text");
		} else if (json_key_is(member.key, "text")) {
			/* Of two texts nobody knows which one the upstream reads. */
			if (text.kind != JSON_KIND_NONE)
				return false;
			text = value;
		}
	}
	if (!is_text || text.kind != JSON_KIND_STRING)
		return false;
	json_string_decode(text, &c->question);
	return true;
}

static bool
add_parts(struct canon *c, struct json_value content)
{
	struct json_scan s;
	bool first = true;

	json_scan_init(&s, json_value_text(content));
	json_enter(&s, JSON_KIND_ARRAY);
	for (; json_next_element(&s); first = false) {
		if (!first)
			buf_add(&c->question, "\n", 1);
		if (!add_part(c, &s))
			return false;
	}
	return true;
}

/* Looks ahead into the last message, whose value comes next. */
static void
find_question(struct canon *c)
{
	struct json_value role = {.kind = JSON_KIND_NONE}, content = role, value;
	struct json_scan s = c->scan;
	struct json_member member;

	json_enter(&s, JSON_KIND_OBJECT);
	while (json_next_member(&s, &member) && json_take(&s, &value)) {
		if (json_key_is(member.key, "role"))
			role = value;
		else if (json_key_is(member.key, "content"))
			content = value;
	}
	if (!json_string_is(role, "user"))
		return;
	if (content.kind == JSON_KIND_STRING && buf_reserve(&c->question, content.n))
		json_string_decode(content, &c->question);
	else if (content.kind != JSON_KIND_ARRAY || !add_parts(c, content))
		return;
	if (is_blank(buf_bytes(&c->question)))
		return;
	c->content = json_value_text(content);
	if (buf_reserve(&c->spelled, SPELLED_HEAD + content.n))
		c->spelled.n = SPELLED_HEAD;
}

static inline bool
is_in_question(const struct canon *c, const char *p)
{
	if (!c->content.p || p < c->content.p || p >= c->content.p + c->content.n)
		return false;
	return p == c->content.p || (c->depth == DEPTH_PART && bytes_is(c->key, "\"text\""));
}

/* Is the key of a at most that of b? In order of their bytes as they are spelled in the text. Which order it is
 * does not matter, but different keys must never be equal in it. */
static inline bool
is_ordered(const char *text, const struct member *a, const struct member *b)
{
	size_t least = a->key_n < b->key_n ? a->key_n : b->key_n;

	if (a->head != b->head)
		return a->head < b->head;
	/* No string is the beginning of another one, since it ends with a quote. */
	return least <= sizeof(a->head) || memcmp(text + a->begin, text + b->begin, least) <= 0;
}

static void
sort_few(const char *text, struct member *list, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		struct member moved = list[i];
		uint32_t k = i;

		for (; k > 0 && !is_ordered(text, &list[k - 1], &moved); k--)
			list[k] = list[k - 1];
		list[k] = moved;
	}
}

/* Joins two sorted lists that stand one behind the other. */
static void
merge(const char *text, const struct member *list, uint32_t middle, uint32_t n, struct member *to)
{
	uint32_t i = 0, k = middle;

	while (i < middle && k < n)
		*to++ = is_ordered(text, &list[i], &list[k]) ? list[i++] : list[k++];
	memcpy(to, list + i, (middle - i) * sizeof(*to));
	memcpy(to + (middle - i), list + k, (n - k) * sizeof(*to));
}

/* Members of the same key stay in the order in which they came. The outcome is in `list` or in `spare`, which has
 * room for as many; gives which. By merging, for qsort() may be quadratic when memory is short. */
static struct member *
sort_members(const char *text, struct member *list, uint32_t n, struct member *spare)
{
	enum { FEW = 8 };

	for (uint32_t i = 0; i < n; i += FEW)
		sort_few(text, list + i, n - i < FEW ? n - i : FEW);
	for (uint64_t width = FEW; width < n; width *= 2) {
		struct member *from = list;

		for (uint64_t i = 0; i < n; i += 2 * width) {
			uint64_t both = n - i < 2 * width ? n - i : 2 * width;

			merge(text, from + i, (uint32_t)(both < width ? both : width),
			      (uint32_t)both, spare + i);
		}
		list = spare;
		spare = from;
	}
	return list;
}

static void
begin_container(struct canon *c, enum json_kind kind)
{
	bool is_object = kind == JSON_KIND_OBJECT;

	c->levels[++c->depth] = (struct level){
	        .begin = (uint32_t)c->text.n,
	        .member = members_count(&c->open),
	        .objects = objects_count(c),
	        .is_object = is_object,
	        .is_messages = c->scan.p == c->request->slots[CHAT_MESSAGES].value.p,
	        .keeps_order = is_object && bytes_is(c->key, "\"properties\""),
	};
	json_enter(&c->scan, kind);
	put(c, is_object ? '{' : '[');
}

/* Writes the value that comes next, of a container only how it begins. */
static void
begin_value(struct canon *c)
{
	enum json_kind kind = json_peek(&c->scan);
	struct json_value value;

	if (kind == JSON_KIND_OBJECT || kind == JSON_KIND_ARRAY) {
		begin_container(c, kind);
		return;
	}
	json_take(&c->scan, &value);
	if (kind != JSON_KIND_STRING) {
		buf_add_bytes(&c->text, json_value_text(value));
	} else if (is_in_question(c, value.p)) {
		put(c, '?');
		json_string_respell(json_value_text(value), &c->spelled);
	} else {
		json_string_respell(json_value_text(value), &c->text);
	}
}

/* Is it a member of the request that does not shape the answer? */
static bool
is_left_out(struct canon *c, struct bytes key)
{
	static const struct json_name names[] = {
	        JSON_NAME("model"),      JSON_NAME("stream"),   JSON_NAME("stream_options"),
	        JSON_NAME("user"),       JSON_NAME("metadata"), JSON_NAME("request_id"),
	        JSON_NAME("project_id"),
	};
	const size_t count = sizeof(names) / sizeof(names[0]);

	return json_peek(&c->scan) == JSON_KIND_NULL || json_key_find(key, names, count) < count;
}

/* Writes the key of a member that the scan has found. */
static void
begin_member(struct canon *c, const struct level *level, struct bytes key)
{
	struct member member = {.begin = (uint32_t)c->text.n};

	json_string_respell((struct bytes){key.p - 1, key.n + 2}, &c->text);
	member.key_n = (uint32_t)c->text.n - member.begin;
	c->key = (struct bytes){c->text.p + member.begin, member.key_n};
	put(c, ':');
	if (!level->keeps_order)
		buf_add(&c->open, &member, sizeof(member));
}

/* A value has ended; if it was a member's, that has too. */
static inline void
end_value(struct canon *c, const struct level *level)
{
	struct member *last;

	if (!level->is_object || level->keeps_order || !level->has_items)
		return;
	last = members_of(&c->open) + members_count(&c->open) - 1;
	last->end = (uint32_t)c->text.n;
	last->objects = objects_count(c);
}

/* Fills in the heads of keys, and tells whether the members are sorted. */
static bool
look_at_keys(const char *text, struct member *list, uint32_t n)
{
	bool is_sorted = true;

	for (uint32_t i = 0; i < n; i++) {
		list[i].head = be64toh(json_key_head(text + list[i].begin, list[i].key_n));
		is_sorted = is_sorted && (i == 0 || is_ordered(text, &list[i - 1], &list[i]));
	}
	return is_sorted;
}

static void
end_object(struct canon *c, const struct level *level)
{
	struct member *members = members_of(&c->open) + level->member, *spare;
	uint32_t count = members_count(&c->open) - level->member;
	size_t size = count * sizeof(*members);

	c->open.n = level->member * sizeof(*members);
	if (!look_at_keys(c->text.p, members, count) && buf_reserve(&c->sorted, size)) {
		const struct object object = {level->begin, (uint32_t)c->text.n,
		                              members_count(&c->sorted), count, level->objects};

		spare = members_of(&c->sorted) + object.member;
		members = sort_members(c->text.p, members, count, spare);
		if (members != spare)
			memcpy(spare, members, size);
		c->sorted.n += size;
		buf_add(&c->objects, &object, sizeof(object));
	}
}

/* Moves the scan to the next member or element, at the end of the innermost container out of that. */
static bool
next_item(struct canon *c, struct level *level, struct json_member *member)
{
	if (!level->is_object)
		return json_next_element(&c->scan);
	while (json_next_member(&c->scan, member)) {
		if (c->depth > DEPTH_REQUEST || !is_left_out(c, member->key))
			return true;
		json_skip(&c->scan);
	}
	return false;
}

/* Goes on to the next value, out of the containers that end before it. False: all was written. */
static bool
next_value(struct canon *c)
{
	for (; c->depth > 0; c->depth--) {
		struct level *level = &c->levels[c->depth];
		struct json_member member = {.before = NULL};

		end_value(c, level);
		if (next_item(c, level, &member)) {
			if (level->has_items)
				put(c, ',');
			c->key = (struct bytes){NULL, 0};
			if (level->is_object)
				begin_member(c, level, member.key);
			else if (level->is_messages &&
			         ++c->message_count == c->request->message_count)
				find_question(c);
			level->has_items = true;
			return true;
		}
		put(c, level->is_object ? '}' : ']');
		if (level->is_object)
			end_object(c, level);
	}
	return false;
}

static bool
write_text(struct canon *c)
{
	if (c->request->body.n > UINT32_MAX || !buf_reserve(&c->text, c->request->body.n))
		return false;
	json_scan_init(&c->scan, c->request->body);
	do
		begin_value(c);
	while (!c->open.failed && next_value(c));
	return !c->text.failed && !c->open.failed && !c->sorted.failed && !c->objects.failed &&
	       !c->question.failed && !c->spelled.failed;
}

/* Writes a range of the text, sorted, so that it ends at `to`; gives its beginning. `objects`: those inside it are
 * among that many. An object calls this again for each member, so it goes as deep as JSON_DEPTH_MAX. */
static char *
write_sorted(const struct canon *c, char *to, uint32_t begin, uint32_t end, uint32_t objects)
{
	const struct object *list = objects_of(&c->objects);
	const struct member *sorted = members_of(&c->sorted);

	while (objects > 0 && list[objects - 1].end > begin) {
		const struct object *object = &list[objects - 1];

		to -= end - object->end + 1;
		memcpy(to, c->text.p + object->end - 1, end - object->end + 1);
		for (uint32_t i = object->count; i-- > 0;) {
			const struct member *m = &sorted[object->member + i];

			to = write_sorted(c, to, m->begin, m->end, m->objects);
			if (i > 0)
				*--to = ',';
		}
		end = object->begin + 1;
		objects = object->objects;
	}
	to -= end - begin;
	memcpy(to, c->text.p + begin, end - begin);
	return to;
}

static bool
make_digests(struct canon *c, struct chat_key *key, struct bytes identity)
{
	const uint64_t length = htole64(identity.n);
	uint32_t text_n = (uint32_t)c->text.n;
	struct buf out;

	buf_init(&out, 0);
	if (!buf_reserve(&out, 1 + sizeof(length) + identity.n + text_n))
		return false;
	buf_add(&out, c->content.p ? "s" : "r", 1);
	buf_add(&out, &length, sizeof(length));
	buf_add_bytes(&out, identity);
	out.n += text_n;
	write_sorted(c, out.p + out.n, 0, text_n, objects_count(c));
	if (c->content.p) {
		key->has_question = true;
		key->scope = sha256_of(buf_bytes(&out));
		c->spelled.p[0] = 'q';
		memcpy(c->spelled.p + 1, key->scope.bytes, sizeof(key->scope.bytes));
		key->exact = sha256_of(buf_bytes(&c->spelled));
		key->question = c->question;
		buf_init(&c->question, 0);
	} else {
		key->exact = sha256_of(buf_bytes(&out));
	}
	buf_fini(&out);
	return true;
}

bool
chat_key_make(struct chat_key *key, const struct chat_request *request, struct bytes identity)
{
	struct canon c = {.request = request};
	bool fine;

	*key = (struct chat_key){.has_question = false};
	fine = write_text(&c) && make_digests(&c, key, identity);
	buf_fini(&c.text);
	buf_fini(&c.open);
	buf_fini(&c.sorted);
	buf_fini(&c.objects);
	buf_fini(&c.question);
	buf_fini(&c.spelled);
	return fine;
}

void
chat_key_fini(struct chat_key *key)
{
	buf_fini(&key->question);
}
