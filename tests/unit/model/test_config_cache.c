/* The block cache: its defaults, what a route overrides, and which model embeds. */
#include "config_unit.h"

#define PROVIDERS "providers: {p: {base_url: http://h/v1}, q: {base_url: http://i/v1}}\n"
#define MODELS                                                                                     \
	"models: {m: {provider: p}, n: {provider: q}, e: {provider: q, capabilities: "             \
	"[embeddings]}}\n"

START_TEST(test_without_a_block_the_cache_is_on_and_compares_by_words)
{
	struct config *config = config_good("{}");
	const struct config_cache *cache = &config->default_route->cache;

	ck_assert(cache->enabled && cache->embedder == EMBEDDER_LEXICAL);
	ck_assert(!cache->embedding_model && !cache->tool_calls && !config->cache.file);
	ck_assert_double_eq(cache->similarity_threshold, 0.95);
	ck_assert_double_eq(cache->max_temperature, 1);
	ck_assert_double_eq(cache->min_margin, 0.2);
	ck_assert_uint_eq(cache->ttl_ms, 3600000);
	ck_assert_uint_eq(cache->embedding_timeout_ms, 2000);
	ck_assert_uint_eq(config->cache.max_bytes, 268435456);
	ck_assert_uint_eq(config->cache.max_entries, 100000);
	ck_assert_uint_eq(config->model_count, 2);
	config_unref(config);
}
END_TEST

START_TEST(test_an_unknown_embedding_model_is_one_at_the_drafters_provider)
{
	struct config *config = config_good("cache: {embedding_model: text-embedding-3-small, "
	                                    "embedding_dimensions: 1536}\n");
	const struct config_cache *cache = &config->default_route->cache;
	const struct config_model *model = cache->embedding_model;

	ck_assert(cache->embedder == EMBEDDER_MODEL && model && model->implied);
	ck_assert_str_eq(model->upstream_name, "text-embedding-3-small");
	ck_assert_str_eq(model->label, "text-embedding-3-small");
	ck_assert_str_eq(model->name, "drafter/text-embedding-3-small");
	ck_assert_ptr_eq(model->provider, config->default_route->drafters[0]->provider);
	ck_assert_uint_eq(model->capabilities, MODEL_CAN_EMBEDDINGS);
	ck_assert_uint_eq(cache->embedding_dimensions, 1536);
	config_unref(config);
}
END_TEST

START_TEST(test_a_route_overrides_the_cache_key_by_key)
{
	struct config *config = config_good(
	        PROVIDERS MODELS
	        "routes:\n"
	        "  a: {drafter: m, heavyweight: n}\n"
	        "  b: {drafter: n, heavyweight: m, cache: {embedding_model: e, ttl_seconds: 5m}}\n"
	        "  c: {drafter: n, heavyweight: m, cache: {embedder: lexical}}\n"
	        "  d: {drafter: m, heavyweight: m, cache: {enabled: false, tool_calls: true}}\n"
	        "cache: {embedding_model: words, max_temperature: 0, min_margin: 1, max_bytes: "
	        "1MiB, "
	        "file: f, file_interval: 0, caller_share: 1}\n");
	const struct config_cache *a = &config_route_find(config, "a")->cache,
	                          *b = &config_route_find(config, "b")->cache,
	                          *c = &config_route_find(config, "c")->cache,
	                          *d = &config_route_find(config, "d")->cache;

	ck_assert_str_eq(a->embedding_model->name, "p/words");
	ck_assert_str_eq(b->embedding_model->name, "e");
	ck_assert(!b->embedding_model->implied);
	ck_assert_uint_eq(b->ttl_ms, 300000);
	ck_assert(c->embedder == EMBEDDER_LEXICAL && !c->embedding_model);
	ck_assert(!d->enabled && d->tool_calls && !d->embedding_model);
	ck_assert_double_eq(b->max_temperature, 0);
	ck_assert_double_eq(b->min_margin, 1);
	ck_assert_str_eq(config->cache.file, "f");
	ck_assert_uint_eq(config->cache.max_bytes, 1048576);
	ck_assert_uint_eq(config->cache.file_interval_ms, 0);
	ck_assert_uint_eq(config->model_count, 4);
	config_unref(config);
}
END_TEST

START_TEST(test_routes_with_the_same_drafter_share_an_implied_model)
{
	struct config *config = config_good(
	        PROVIDERS MODELS "routes: {a: {drafter: m, heavyweight: n}, b: {drafter: m, "
	                         "heavyweight: n}, c: {drafter: n, heavyweight: n}}\n"
	                         "cache: {embedding_model: words}\n");
	const struct config_model *a = config_route_find(config, "a")->cache.embedding_model;

	ck_assert_ptr_eq(a, config_route_find(config, "b")->cache.embedding_model);
	ck_assert_ptr_ne(a, config_route_find(config, "c")->cache.embedding_model);
	ck_assert_uint_eq(config->model_count, 5);
	config_unref(config);
}
END_TEST

UNIT_MAIN("config_cache", test_without_a_block_the_cache_is_on_and_compares_by_words,
          test_an_unknown_embedding_model_is_one_at_the_drafters_provider,
          test_a_route_overrides_the_cache_key_by_key,
          test_routes_with_the_same_drafter_share_an_implied_model)
