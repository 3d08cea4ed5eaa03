#include "unit.h"

#include "wire/json_splice.h"

enum { MEMBERS = 4 };

static const char *const names[MEMBERS] = {"a", "b", "c", "d"};

struct fixture {
	struct json_object_span span;
	struct json_slot slots[MEMBERS]; /* of the members a to d */
	struct json_change changes[JSON_CHANGES_MAX + 1];
	size_t count;
};

static void
load(struct fixture *f, const char *text)
{
	struct json_walk walk;
	struct json_scan s;

	*f = (struct fixture){.count = 0};
	json_scan_init(&s, bytes_of(text));
	ck_assert_msg(json_walk_enter(&walk, &s, &f->span), "%s", text);
	while (json_walk_next(&walk)) {
		bool taken = false;

		for (size_t i = 0; i < MEMBERS && !taken; i++) {
			taken = json_key_is(walk.member.key, names[i]);
			if (taken)
				json_walk_take(&walk, &f->slots[i]);
		}
		if (!taken)
			json_skip(&s);
	}
	ck_assert_msg(json_scan_end(&s), "%s", text);
}

/* Carries out changes as "-a" (remove), "b=1" (set), separated by single spaces, in that order. */
static void
plan(struct fixture *f, const char *changes)
{
	while (*changes) {
		size_t n = strcspn(changes, " ");
		bool removes = *changes == '-';
		size_t which = (size_t)(changes[removes] - 'a');

		ck_assert_uint_lt(which, MEMBERS);
		f->changes[f->count++] = (struct json_change){
		        .key = names[which],
		        .slot = &f->slots[which],
		        .text = removes ? (struct bytes){NULL, 0}
		                        : (struct bytes){changes + 2, n - 2},
		};
		changes += n + (changes[n] == ' ');
	}
}

static void
check_splice(const char *text, const char *changes, const char *expected)
{
	struct fixture f;
	struct buf out;

	load(&f, text);
	plan(&f, changes);
	buf_init(&out, 0);
	json_splice(&out, &f.span, f.changes, f.count);
	ck_assert(!out.failed);
	ck_assert_msg(bytes_is(buf_bytes(&out), expected), "%s with %s: %.*s, not %s", text,
	              changes, (int)out.n, out.p, expected);
	buf_fini(&out);
}

START_TEST(test_no_change_keeps_every_byte)
{
	static const char *const texts[] = {
	        "{}",
	        "{ }",
	        "{\"a\":1e2,\"b\":0.7,\"n\":9223372036854775808}",
	        "{ \"a\"\t:\n\"\\u0000\\ud800\" , \"a\":[ 1 ,2 ] }",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_splice(texts[i], "", texts[i]);
}
END_TEST

START_TEST(test_a_value_is_replaced_and_nothing_else)
{
	check_splice("{\"a\":1}", "a=22", "{\"a\":22}");
	check_splice("{ \"a\" : 1 }", "a=\"x\"", "{ \"a\" : \"x\" }");
	check_splice("{\"x\":0,\"\\u0061\":{\"q\":[]},\"y\":1e2}", "a=5",
	             "{\"x\":0,\"\\u0061\":5,\"y\":1e2}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "c=z b=y a=x", "{\"a\":x,\"b\":y,\"c\":z}");
}
END_TEST

START_TEST(test_removing_leaves_no_stray_comma)
{
	check_splice("{\"a\":1}", "-a", "{}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-a", "{\"b\":2,\"c\":3}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-b", "{\"a\":1,\"c\":3}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-c", "{\"a\":1,\"b\":2}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-a -b", "{\"c\":3}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-b -a", "{\"c\":3}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-b -c", "{\"a\":1}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-a -c", "{\"b\":2}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-a -b -c", "{}");
	check_splice("{\"x\":0,\"a\":1,\"b\":2,\"c\":3}", "-a -b -c", "{\"x\":0}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3,\"x\":0}", "-a -b -c", "{\"x\":0}");
	check_splice("{\"a\":1,\"x\":0,\"b\":2,\"y\":0,\"c\":3}", "-a -b -c", "{\"x\":0,\"y\":0}");
}
END_TEST

START_TEST(test_white_space_elsewhere_stays)
{
	check_splice("{ \"a\" : 1 , \"b\" : 2 }", "-a", "{ \"b\" : 2 }");
	check_splice("{ \"a\" : 1 , \"b\" : 2 }", "-b", "{ \"a\" : 1 }");
	check_splice("{ \"a\" : 1 , \"b\" : 2 }", "-a -b", "{  }");
	check_splice("{\n  \"x\": 1,\n  \"a\": 2,\n  \"y\": 3\n}", "-a",
	             "{\n  \"x\": 1,\n  \"y\": 3\n}");
	check_splice("{\n  \"x\": 1,\n  \"a\": 2\n}", "b=3",
	             "{\n  \"x\": 1,\n  \"a\": 2,\"b\":3\n}");
}
END_TEST

START_TEST(test_absent_members_are_added_in_the_order_given)
{
	check_splice("{}", "a=1", "{\"a\":1}");
	check_splice("{ }", "a=1 b=2", "{\"a\":1,\"b\":2 }");
	check_splice("{\"x\":0}", "b=2 a=1", "{\"x\":0,\"b\":2,\"a\":1}");
	check_splice("{\"x\":0 }", "c=3", "{\"x\":0,\"c\":3 }");
}
END_TEST

START_TEST(test_removing_what_is_absent_changes_nothing)
{
	check_splice("{}", "-a", "{}");
	check_splice("{ \"x\" : 0 }", "-a -b", "{ \"x\" : 0 }");
}
END_TEST

START_TEST(test_changes_of_all_sorts_go_together)
{
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "-a b=9 -c d=4", "{\"b\":9,\"d\":4}");
	check_splice("{\"a\":1,\"b\":2,\"c\":3}", "a=9 -b c=8", "{\"a\":9,\"c\":8}");
	check_splice("{\"a\":1}", "-a b=2", "{\"b\":2}");
	check_splice("{ \"a\":1 , \"b\":2 }", "-b -a c=2 d=3", "{ \"c\":2,\"d\":3 }");
	check_splice("{\"a\":1,\"b\":2,\"x\":0}", "c=3 -a -b", "{\"x\":0,\"c\":3}");
	check_splice("{\"x\":0,\"a\":1,\"b\":2}", "c=3 -a -b", "{\"x\":0,\"c\":3}");
}
END_TEST

enum { LEAVE, REMOVE, SET, ACTIONS };

static void
add_word(struct buf *out, const char *separator, const char *format, const char *name)
{
	if (out->n > 1)
		buf_add_text(out, separator);
	buf_add_text(out, *format == '-' ? "-" : "");
	buf_add_text(out, name);
	buf_add_text(out, format + (*format == '-'));
}

/* The changes for `actions` in the form that plan() reads, and what must come out: every member of
 * `text` is six bytes long, and the changes name the members backwards. */
static void
foretell(const char *text, const unsigned *actions, struct buf *changes, struct buf *expected)
{
	buf_add_text(changes, " ");
	for (size_t i = MEMBERS; i-- > 0;) {
		if (actions[i] != LEAVE)
			add_word(changes, " ", actions[i] == SET ? "=9" : "-", names[i]);
	}
	buf_add_text(expected, "{");
	for (const char *p = text + 1; *p; p += 6) {
		unsigned action = p[1] < 'x' ? actions[p[1] - 'a'] : LEAVE;
		char member[] = {'"', p[1], '"', ':', action == SET ? '9' : p[4], '\0'};

		if (action != REMOVE)
			add_word(expected, ",", "", member);
	}
	for (size_t i = MEMBERS; i-- > 0;) {
		char member[] = {'"', names[i][0], '"', ':', '9', '\0'};

		if (actions[i] == SET && !strchr(text, names[i][0]))
			add_word(expected, ",", "", member);
	}
	buf_add_text(expected, "}");
	buf_add(expected, "", 1);
	buf_add(changes, "", 1);
}

START_TEST(test_any_set_of_changes_gives_what_was_asked_for)
{
	static const char *const texts[] = {
	        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4}",
	        "{\"a\":1,\"x\":0,\"b\":2,\"c\":3,\"y\":0,\"d\":4}",
	        "{\"x\":0,\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"y\":0}",
	        "{\"c\":3,\"d\":4}",
	        "{\"x\":0}",
	};

	for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
		for (unsigned choice = 0; choice < 81; choice++) {
			unsigned actions[MEMBERS] = {choice % ACTIONS, choice / 3 % ACTIONS,
			                             choice / 9 % ACTIONS, choice / 27};
			struct buf changes, expected;

			buf_init(&changes, 0);
			buf_init(&expected, 0);
			foretell(texts[t], actions, &changes, &expected);
			check_splice(texts[t], changes.p + 1, expected.p);
			buf_fini(&changes);
			buf_fini(&expected);
		}
	}
}
END_TEST

START_TEST(test_objects_inside_can_be_spliced_in_place)
{
	static const char text[] = " {\"a\":{\"b\":1,\"c\":2},\"d\":0} ";
	struct json_object_span outer, inner;
	struct json_slot a = {.begin = NULL}, c = {.begin = NULL};
	struct json_change changes[1];
	struct json_walk walk, sub;
	struct json_scan s;
	struct buf out;

	json_scan_init(&s, bytes_of(text));
	ck_assert(json_walk_enter(&walk, &s, &outer));
	while (json_walk_next(&walk)) {
		if (!json_key_is(walk.member.key, "a")) {
			json_skip(&s);
			continue;
		}
		json_walk_mark(&walk, &a);
		ck_assert(json_walk_enter(&sub, &s, &inner));
		while (json_walk_next(&sub)) {
			if (json_key_is(sub.member.key, "c"))
				json_walk_take(&sub, &c);
			else
				json_skip(&s);
		}
	}
	ck_assert(json_scan_end(&s));
	ck_assert_int_eq(a.value.kind, JSON_KIND_OBJECT);
	ck_assert(bytes_is(json_value_text(a.value), "{\"b\":1,\"c\":2}"));
	ck_assert_ptr_eq(a.after, strstr(text, "\"d\""));
	ck_assert_ptr_null(c.after);
	ck_assert_ptr_eq(outer.close, strrchr(text, '}'));
	changes[0] = (struct json_change){.key = "c", .slot = &c};
	buf_init(&out, 0);
	json_splice(&out, &inner, changes, 1);
	ck_assert(bytes_is(buf_bytes(&out), "{\"b\":1}"));
	buf_fini(&out);
}
END_TEST

START_TEST(test_a_walk_into_what_is_no_object_leaves_it)
{
	struct json_object_span span;
	struct json_walk walk;
	struct json_scan s;

	json_scan_init(&s, bytes_of("[]"));
	ck_assert(!json_walk_enter(&walk, &s, &span));
	ck_assert_ptr_null(span.open);
	ck_assert(json_skip(&s) && json_scan_end(&s));
}
END_TEST

START_TEST(test_a_fault_leaves_the_span_without_an_end)
{
	struct json_object_span span;
	struct json_slot slot;
	struct json_walk walk;
	struct json_scan s;

	json_scan_init(&s, bytes_of("{\"a\":1,\"b\":!}"));
	ck_assert(json_walk_enter(&walk, &s, &span));
	ck_assert(json_walk_next(&walk) && json_walk_take(&walk, &slot));
	ck_assert(json_walk_next(&walk) && !json_walk_take(&walk, &slot));
	ck_assert_int_eq(slot.value.kind, JSON_KIND_NONE);
	ck_assert(!json_walk_next(&walk));
	ck_assert_ptr_null(span.close);
	ck_assert(!json_scan_end(&s));
}
END_TEST

START_TEST(test_too_many_changes_or_no_room_show_as_a_failure)
{
	struct fixture f;
	struct buf out;

	load(&f, "{\"a\":1}");
	plan(&f, "a=12345678");
	buf_init(&out, 8);
	json_splice(&out, &f.span, f.changes, f.count);
	ck_assert(out.failed);
	buf_fini(&out);
	buf_init(&out, 0);
	json_splice(&out, &f.span, f.changes, JSON_CHANGES_MAX + 1);
	ck_assert(out.failed);
	buf_fini(&out);
}
END_TEST

UNIT_MAIN("json_splice", test_no_change_keeps_every_byte, test_a_value_is_replaced_and_nothing_else,
          test_removing_leaves_no_stray_comma, test_white_space_elsewhere_stays,
          test_absent_members_are_added_in_the_order_given,
          test_removing_what_is_absent_changes_nothing, test_changes_of_all_sorts_go_together,
          test_any_set_of_changes_gives_what_was_asked_for,
          test_objects_inside_can_be_spliced_in_place, test_a_walk_into_what_is_no_object_leaves_it,
          test_a_fault_leaves_the_span_without_an_end,
          test_too_many_changes_or_no_room_show_as_a_failure)
