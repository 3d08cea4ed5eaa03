/* What is written about the keys agrees with the table of keys. Run from the repository's root. */
#include "config_unit.h"

#include "model/config_table.h"

static char *
file_read(const char *path)
{
	FILE *file = fopen(path, "r");
	struct buf text;
	char *copy;
	int c;

	ck_assert_msg(file != NULL, "%s: cannot be read; the test runs in the repository's root",
	              path);
	buf_init(&text, 0);
	while ((c = getc(file)) != EOF)
		buf_add(&text, &(char){(char)c}, 1);
	fclose(file);
	copy = mem_copy(buf_bytes(&text));
	buf_fini(&text);
	return copy;
}

/* The manual page's section about a block: a copy. */
static char *
section_copy(const char *manual, enum config_block block)
{
	const char *path = *config_block_path(block) ? config_block_path(block) : "Top level";
	char *title = mem_format("\n.Ss %s\n", path), *section;
	const char *start = strstr(manual, title), *end;

	ck_assert_msg(start != NULL, "the manual page has no section %s", path);
	start += strlen(title);
	end = strstr(start, "\n.S");
	section = mem_copy((struct bytes){start, end ? (size_t)(end - start) : strlen(start)});
	free(title);
	return section;
}

static bool
is_word_end(char c)
{
	return c == '\0' || strchr(" \n,;.)", c) != NULL;
}

/* Where `word` stands by itself in text, or NULL. */
static const char *
word_find(const char *text, const char *word)
{
	for (const char *p = text; (p = strstr(p, word)); p++) {
		if ((p == text || strchr(" \n", p[-1])) &&
		    (is_word_end(p[strlen(word)]) || strncmp(p + strlen(word), ".\n", 2) == 0))
			return p;
	}
	return NULL;
}

/* The lines about a key, from its .It to the next; for keys that share a tag, its own line at
 * least. */
static char *
entry_copy(const char *section, const char *name)
{
	for (const char *p = section; p; p = strstr(p + 1, ".It Cm ")) {
		const char *line_end, *end;
		char *line;
		bool found;

		if (strncmp(p, ".It Cm ", 7) != 0)
			continue;
		line_end = strchr(p, '\n');
		line = mem_copy((struct bytes){p, (size_t)(line_end - p)});
		found = word_find(line, name) != NULL;
		free(line);
		if (!found)
			continue;
		end = strstr(p + 1, ".It Cm ");
		return mem_copy((struct bytes){p, end ? (size_t)(end - p) : strlen(p)});
	}
	return NULL;
}

static void
assert_says(const struct config_key *key, const char *entry, const char *word)
{
	ck_assert_msg(word_find(entry, word) != NULL,
	              "%s.%s: the manual page does not say `%s`:\n%s",
	              config_block_path(key->block), key->name, word, entry);
}

static void
assert_says_choices(const struct config_key *key, const char *entry)
{
	char *choices = mem_copy(bytes_of(key->choices)), *rest = choices, *choice;

	while ((choice = strsep(&rest, "|")))
		assert_says(key, entry, choice);
	free(choices);
}

static void
assert_is_documented(const struct config_key *key, const char *section)
{
	char *entry, *range;

	/* The heavyweight's section says only in what it differs from the drafter's. */
	if (key->block == BLOCK_HEAVYWEIGHT)
		entry = mem_copy(bytes_of(section));
	else
		entry = entry_copy(section, key->name);
	ck_assert_msg(entry != NULL, "%s.%s: not in the manual page", config_block_path(key->block),
	              key->name);
	assert_says(key, entry, key->name);
	if (key->initial)
		assert_says(key, entry, key->initial);
	if (key->choices)
		assert_says_choices(key, entry);
	if (key->block != BLOCK_HEAVYWEIGHT &&
	    ((key->type >= KEY_COUNT && key->type <= KEY_MONEY) || key->type == KEY_PORT)) {
		range = mem_format("%.15g to %.15g", key->min, key->max);
		ck_assert_msg(strstr(entry, range) != NULL,
		              "%s.%s: the manual page does not say `%s`:\n%s",
		              config_block_path(key->block), key->name, range, entry);
		free(range);
	}
	free(entry);
}

START_TEST(test_the_manual_page_knows_every_key)
{
	char *manual = file_read("docs/draft-thinker.yaml.5");
	size_t count;
	const struct config_key *keys = config_keys(&count);

	ck_assert_uint_gt(count, 0);
	for (size_t i = 0; i < count; i++) {
		char *section = section_copy(manual, keys[i].block);

		assert_is_documented(&keys[i], section);
		free(section);
	}
	free(manual);
}
END_TEST

START_TEST(test_the_manual_page_knows_no_other_key)
{
	char *manual = file_read("docs/draft-thinker.yaml.5");

	for (enum config_block block = 0; block < BLOCK_COUNT; block++) {
		char *section = section_copy(manual, block);

		for (char *p = section; (p = strstr(p, ".It Cm "));) {
			char *name, *rest = p + 7, *end = strpbrk(rest, "\n");

			*end = '\0';
			p = end + 1;
			if (strstr(rest, " No "))
				*strstr(rest, " No ") = '\0';
			while ((name = strsep(&rest, " ,"))) {
				ck_assert_msg(!*name || config_key_find(block, name),
				              "%s.%s: no such key", config_block_path(block), name);
			}
		}
		free(section);
	}
	free(manual);
}
END_TEST

START_TEST(test_the_example_file_is_the_defaults)
{
	struct config_report report;
	struct config *example, *initial;

	setenv("OPENAI_API_KEY", "sk-environment", 1);
	config_report_init(&report);
	example = config_load("config/draft-thinker.yaml", &report);
	initial = config_load(NULL, &report);
	ck_assert_ptr_nonnull(example);
	ck_assert_ptr_nonnull(initial);
	ck_assert_uint_eq(example->server.listen_count, initial->server.listen_count);
	ck_assert_str_eq(example->server.listen[0].host, initial->server.listen[0].host);
	ck_assert_uint_eq(example->server.listen[0].port, initial->server.listen[0].port);
	ck_assert_uint_eq(example->server.read_timeout_ms, initial->server.read_timeout_ms);
	ck_assert_uint_eq(example->server.write_timeout_ms, initial->server.write_timeout_ms);
	ck_assert_uint_eq(example->server.idle_timeout_ms, initial->server.idle_timeout_ms);
	for (size_t i = 0; i < 2; i++) {
		const struct config_model *a = &example->models[i], *b = &initial->models[i];

		ck_assert_str_eq(a->upstream_name, b->upstream_name);
		ck_assert_str_eq(a->provider->label, b->provider->label);
		ck_assert_str_eq(a->provider->base_url, b->provider->base_url);
		ck_assert_str_eq(a->provider->api_key, b->provider->api_key);
		ck_assert_uint_eq(a->provider->idle_timeout_ms, b->provider->idle_timeout_ms);
	}
	ck_assert_mem_eq(&example->default_route->entropy.options,
	                 &initial->default_route->entropy.options, sizeof(struct rule_options));
	ck_assert_uint_eq(example->default_route->entropy.top_logprobs,
	                  initial->default_route->entropy.top_logprobs);
	ck_assert_int_eq(example->default_route->speculative.enabled,
	                 initial->default_route->speculative.enabled);
	ck_assert_double_eq(example->default_route->speculative.soft_threshold_mult,
	                    initial->default_route->speculative.soft_threshold_mult);
	ck_assert_str_eq(example->metrics_path, initial->metrics_path);
	config_unref(example);
	config_unref(initial);
	config_report_fini(&report);
}
END_TEST

START_TEST(test_the_example_file_names_every_key)
{
	char *example = file_read("config/draft-thinker.yaml");
	size_t count;
	const struct config_key *keys = config_keys(&count);

	for (size_t i = 0; i < count; i++) {
		char *name = mem_format("%s:", keys[i].name);

		ck_assert_msg(strstr(example, name) != NULL, "%s.%s is not in the example",
		              config_block_path(keys[i].block), keys[i].name);
		free(name);
	}
	free(example);
}
END_TEST

START_TEST(test_the_example_files_long_form_can_be_used)
{
	char *example = file_read("config/draft-thinker.yaml"), *line, *rest;
	struct config_report report;
	struct config *config;
	struct buf text;

	buf_init(&text, 0);
	rest = strstr(example, "\n# providers:\n");
	ck_assert_ptr_nonnull(rest);
	rest++;
	while ((line = strsep(&rest, "\n"))) {
		ck_assert_msg(!*line || *line == '#', "%s", line);
		buf_add_text(&text, strncmp(line, "# ", 2) == 0 ? line + 2 : "");
		buf_add_text(&text, "\n");
	}
	setenv("AZURE_KEY", "key", 1);
	setenv("OPENAI_API_KEY", "key", 1);
	config_report_init(&report);
	config = config_parse("example", buf_bytes(&text), &report);
	ck_assert_msg(config != NULL, "%.*s", (int)report.errors.n, report.errors.p);
	ck_assert_uint_eq(config->provider_count, 3);
	ck_assert_uint_eq(config->route_count, 3);
	config_unref(config);
	config_report_fini(&report);
	buf_fini(&text);
	free(example);
}
END_TEST

START_TEST(test_every_key_has_a_type_a_range_and_a_meaning)
{
	size_t count;
	const struct config_key *keys = config_keys(&count);

	for (size_t i = 0; i < count; i++) {
		const struct config_key *key = &keys[i];

		ck_assert_ptr_eq(config_key_find(key->block, key->name), key);
		ck_assert_str_ne(config_type_name(key->type), "");
		ck_assert_str_ne(key->help, "");
		ck_assert((key->stage == STAGE_NOW) == (key->stage_text == NULL));
		ck_assert((key->type == KEY_CHOICE || key->type == KEY_RULE) <=
		          (key->choices != NULL));
		if (key->type >= KEY_COUNT && key->type <= KEY_URL)
			ck_assert_msg(key->max > key->min, "%s", key->name);
	}
}
END_TEST

UNIT_MAIN("config_docs", test_the_manual_page_knows_every_key,
          test_the_manual_page_knows_no_other_key, test_the_example_file_is_the_defaults,
          test_the_example_file_names_every_key, test_the_example_files_long_form_can_be_used,
          test_every_key_has_a_type_a_range_and_a_meaning)
