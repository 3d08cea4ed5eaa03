/* Every rule of the file, broken: the message names line and path, and says what is wrong. */
#include "config_unit.h"

struct row {
	const char *yaml, *errors;
};

static void
assert_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_errors(rows[i].yaml, rows[i].errors);
}

#define ASSERT_ROWS(rows) assert_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* A long form around one provider, one model and one route, on lines 1 to 3. */
#define P "providers: {p: {base_url: http://h/v1}}\n"
#define M "models: {m: {provider: p}}\n"
#define R "routes: {auto: {drafter: m, heavyweight: m}}\n"

static const struct row rows_of_the_yaml_itself[] = {
        {"server:\n\tport: 1\n",
         "f:2: found character that cannot start any token (while scanning for the next "
         "token)\n"},
        {"server: {port: 1\n", "f:2: did not find expected ',' or '}' (while parsing a flow "
                               "mapping)\n"},
        {"a: b: c\n", "f:1: mapping values are not allowed in this context\n"},
        {"x:\n\n  \x01\n", "f:3: control characters are not allowed\n"},
        {"server:\n  port: \xff\n", "f:2: not UTF-8\n"},
        {"\xff\xfes\0", "f:1: not UTF-8\n"},
        {"a: &x 1\nb: *x\n", "f:1: anchors and aliases (`&`, `*`) are not supported\n"},
        {"a: &x [1]\n", "f:1: anchors and aliases (`&`, `*`) are not supported\n"},
        {"a: &x {b: 1}\n", "f:1: anchors and aliases (`&`, `*`) are not supported\n"},
        {"log: {}\na: *x\n", "f:2: anchors and aliases (`&`, `*`) are not supported\n"},
        {"server: !!map {}\n", "f:1: tags (`!…`) are not supported\n"},
        {"server: {port: !!int \"1\"}\n", "f:1: tags (`!…`) are not supported\n"},
        {"- !x []\n", "f:1: tags (`!…`) are not supported\n"},
        {"{}\n---\n{}\n", "f:2: a second document starts here; one is allowed\n"},
        {"? [a]\n: 1\n", "f:1: a key must be a text\n"},
        {"? {a: 1}\n: 1\n", "f:1: a key must be a text\n"},
        {"log: {file: \"a\\0b\"}\n", "f:1: a NUL character cannot be part of a text\n"},
        {"log: {file: [[[[[[[[[[[[[[1]]]]]]]]]]]]]]}\n", "f:1: nested too deeply\n"},
        {"[]\n", "f:1: a block of keys is wanted\n"},
        {"\"\"\n", "f:1: a block of keys is wanted\n"},
        {"just a text\n", "f:1: a block of keys is wanted\n"},
};

START_TEST(test_the_yaml_itself)
{
	ASSERT_ROWS(rows_of_the_yaml_itself);
}
END_TEST

static const struct row rows_of_unknown_and_repeated_keys[] = {
        {"colour: red\n", "f:1: colour: unknown key\n"},
        {"sever: {}\n", "f:1: sever: unknown key; did you mean `server`?\n"},
        {"server:\n  prot: 1\n", "f:2: server.prot: unknown key; did you mean `port`?\n"},
        {"entropy: {treshold: 1, threshhold: 2}\n",
         "f:1: entropy.treshold: unknown key; did you mean `threshold`?\n"
         "f:1: entropy.threshhold: unknown key; did you mean `threshold`?\n"},
        {"log: {x: 1}\n", "f:1: log.x: unknown key\n"},
        {"port: 8080\n", "f:1: port: unknown key\n"},
        {"drafter: {temperature: 1}\n", "f:1: drafter.temperature: unknown key\n"},
        {"<<: {}\n", "f:1: …: unknown key\n"},
        {"\"a\\e[31mb\": 1\n", "f:1: a…: unknown key\n"},
        {"server: {port: 1}\nlog: {}\nserver: {port: 2}\n",
         "f:3: server: repeated key; it stands on line 1 already\n"},
        {"server:\n  port: 1\n  port: 1\n  port: 2\n",
         "f:3: server.port: repeated key; it stands on line 2 already\n"
         "f:4: server.port: repeated key; it stands on line 2 already\n"},
        {P "models: {m: {provider: p}, \"m\": {provider: p}}\n" R,
         "f:2: models.m: repeated key; it stands on line 2 already\n"},
};

START_TEST(test_unknown_and_repeated_keys)
{
	ASSERT_ROWS(rows_of_unknown_and_repeated_keys);
}
END_TEST

static const struct row rows_of_wrong_types[] = {
        {"server: 3\n", "f:1: server: a block of keys is wanted\n"},
        {"server: []\n", "f:1: server: a block of keys is wanted\n"},
        {"drafter: openai\n", "f:1: drafter: a block of keys is wanted\n"},
        {"server: {port: \"8080\"}\n",
         "f:1: server.port: a whole number is wanted, without quotes\n"},
        {"server: {port: many}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: 80.5}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: 1e3}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: 0x50}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: 080}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: +80}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: [1]}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {port: }\n", "f:1: server.port: has no value; a whole number is wanted\n"},
        {"server: {port: null}\n", "f:1: server.port: has no value; a whole number is wanted\n"},
        {"server: {port: true}\n", "f:1: server.port: a whole number is wanted\n"},
        {"server: {max_body_bytes: 10MB}\n",
         "f:1: server.max_body_bytes: a number of bytes is wanted, such as 1048576, 64KiB, "
         "10MiB, 1GiB\n"},
        {"server: {max_body_bytes: \"1048576\"}\n",
         "f:1: server.max_body_bytes: a number of bytes is wanted, such as 1048576, 64KiB, "
         "10MiB, 1GiB, without quotes\n"},
        {"server: {read_timeout: \"30\"}\n",
         "f:1: server.read_timeout: a duration is wanted: seconds, or such as 250ms, 30s, "
         "5m, 1h, without quotes\n"},
        {"server: {read_timeout: 1d}\n",
         "f:1: server.read_timeout: a duration is wanted: seconds, or such as 250ms, 30s, "
         "5m, 1h\n"},
        {"server: {read_timeout: 3 s}\n",
         "f:1: server.read_timeout: a duration is wanted: seconds, or such as 250ms, 30s, "
         "5m, 1h\n"},
        {"entropy: {threshold: high}\n", "f:1: entropy.threshold: a number is wanted\n"},
        {"entropy: {threshold: .nan}\n", "f:1: entropy.threshold: a number is wanted\n"},
        {"entropy: {threshold: \"2.0\"}\n",
         "f:1: entropy.threshold: a number is wanted, without quotes\n"},
        {"metrics: {enabled: yes}\n", "f:1: metrics.enabled: true or false is wanted\n"},
        {"metrics: {enabled: True}\n", "f:1: metrics.enabled: true or false is wanted\n"},
        {"metrics: {enabled: 1}\n", "f:1: metrics.enabled: true or false is wanted\n"},
        {"metrics: {enabled: \"true\"}\n",
         "f:1: metrics.enabled: true or false is wanted, without quotes\n"},
        {"drafter: {model: 4.1}\n", "f:1: drafter.model: a text is wanted; put it in quotes\n"},
        {"drafter: {model: true}\n", "f:1: drafter.model: a text is wanted; put it in quotes\n"},
        {"drafter: {model: {a: b}}\n", "f:1: drafter.model: a text is wanted\n"},
        {"drafter: {model: ~}\n", "f:1: drafter.model: has no value; a text is wanted\n"},
        {"drafter: {model: \"a\\tb\"}\n", "f:1: drafter.model: may not hold control characters\n"},
        {"entropy: {tail: [bound]}\n", "f:1: entropy.tail: a text is wanted\n"},
        {"server: {listen: 127.0.0.1:80}\n",
         "f:1: server.listen: a list of addresses is wanted, such as [127.0.0.1:8080]\n"},
        {"server: {listen: [8080]}\n",
         "f:1: server.listen[0]: a text is wanted; put it in quotes\n"},
        {"drafter: {headers: [a]}\n", "f:1: drafter.headers: a block of keys is wanted\n"},
        {"providers: []\n" M R, "f:1: providers: a block of keys is wanted\n"
                                "f:2: models.m.provider: no provider named p\n"},
        {P "models: {m: p}\n" R, "f:2: models.m: a block of keys is wanted\n"},
        {P "models: {m: {provider: p, capabilities: tools}}\n" R,
         "f:2: models.m.capabilities: a list is wanted, such as [tools, json]\n"},
        {P "models: {m: {provider: p, price: 3}}\n" R,
         "f:2: models.m.price: a block of keys is wanted\n"},
        {P M "routes: [a]\n", "f:3: routes: a block of keys is wanted\n"},
        {P M "routes: {auto: m}\n", "f:3: routes.auto: a block of keys is wanted\n"},
        {P M "routes: {auto: {drafter: {m: 1}, heavyweight: ~}}\n",
         "f:3: routes.auto.drafter: a model's name or a list of names is wanted\n"
         "f:3: routes.auto.heavyweight: a model's name or a list of names is wanted\n"},
};

START_TEST(test_wrong_types)
{
	ASSERT_ROWS(rows_of_wrong_types);
}
END_TEST

static const struct row rows_of_values_out_of_range[] = {
        {"server: {port: 0}\n", "f:1: server.port: must be between 1 and 65535\n"},
        {"server: {port: 65536}\n", "f:1: server.port: must be between 1 and 65535\n"},
        {"server: {port: -1}\n", "f:1: server.port: must be between 1 and 65535\n"},
        {"server: {port: 99999999999999999999999}\n",
         "f:1: server.port: must be between 1 and 65535\n"},
        {"server: {workers: 257}\n", "f:1: server.workers: must be between 0 and 256\n"},
        {"server: {max_connections: 1000001}\n",
         "f:1: server.max_connections: must be between 0 and 1000000\n"},
        {"server: {max_body_bytes: 0}\n",
         "f:1: server.max_body_bytes: must be between 1 and 1073741824\n"},
        {"server: {max_body_bytes: 2GiB}\n",
         "f:1: server.max_body_bytes: must be between 1 and 1073741824\n"},
        {"server: {read_timeout: 86401}\n",
         "f:1: server.read_timeout: must be between 0 and 86400 seconds\n"},
        {"server: {read_timeout: -1}\n",
         "f:1: server.read_timeout: must be between 0 and 86400 seconds\n"},
        {"server: {read_timeout: 1e300h}\n",
         "f:1: server.read_timeout: must be between 0 and 86400 seconds\n"},
        {"server: {read_timeout: 0.0009}\n",
         "f:1: server.read_timeout: shorter than a millisecond\n"},
        {"server: {drain_timeout: 3601}\n",
         "f:1: server.drain_timeout: must be between 0 and 3600 seconds\n"},
        {"server: {keepalive_interval: 301}\n",
         "f:1: server.keepalive_interval: must be between 0 and 300 seconds\n"},
        {"entropy: {threshold: 64.1}\n", "f:1: entropy.threshold: must be between 0 and 64\n"},
        {"entropy: {threshold: -0.1}\n", "f:1: entropy.threshold: must be between 0 and 64\n"},
        {"entropy: {window_size: 0}\n", "f:1: entropy.window_size: must be between 1 and 1024\n"},
        {"entropy: {window_size: 1025}\n",
         "f:1: entropy.window_size: must be between 1 and 1024\n"},
        {"entropy: {early_exit_count: 100001}\n",
         "f:1: entropy.early_exit_count: must be between 0 and 100000\n"},
        {"entropy: {top_logprobs: 0}\n", "f:1: entropy.top_logprobs: must be between 1 and 20\n"},
        {"entropy: {top_logprobs: 21}\n", "f:1: entropy.top_logprobs: must be between 1 and 20\n"},
        {"entropy: {rule: mean}\n", "f:1: entropy.rule: must be one of: window\n"},
        {"entropy: {tail: renormalize}\n",
         "f:1: entropy.tail: must be one of: bound, renormalise\n"},
        {"entropy: {on_unscorable: \"\"}\n",
         "f:1: entropy.on_unscorable: must be one of: escalate, accept\n"},
        {"stream: {mode: hol}\n", "f:1: stream.mode: must be one of: hold, live\n"},
        {"stream: {late: true}\n", "f:1: stream.late: must be one of: handoff, finish\n"},
        {"unknown_model: rejected\n", "f:1: unknown_model: must be one of: default, reject\n"},
        {"on_heavyweight_down: f\n", "f:1: on_heavyweight_down: must be one of: fail, draft\n"},
        {"log: {level: trace}\n", "f:1: log.level: must be one of: debug, info, warn, error\n"},
        {"log: {file: \"\"}\n", "f:1: log.file: must not be empty\n"},
        {"speculative: {soft_threshold_mult: 1.01, max_share: -0.1}\n",
         "f:1: speculative.soft_threshold_mult: must be between 0 and 1\n"
         "f:1: speculative.max_share: must be between 0 and 1\n"},
        {"server: {max_concurrent: 1000001, request_timeout: 86401}\n",
         "f:1: server.max_concurrent: must be between 0 and 1000000\n"
         "f:1: server.request_timeout: must be between 0 and 86400 seconds\n"},
        {"heavyweight: {retries: -1, prefill: openai}\n",
         "f:1: heavyweight.retries: must be between 0 and 10\n"
         "f:1: heavyweight.prefill: must be one of: none, plain, vllm, deepseek, mistral, "
         "anthropic\n"},
        {"drafter:\n  retries: 1\n  prefill: none\n", "f:2: drafter.retries: unknown key\n"
                                                      "f:3: drafter.prefill: unknown key\n"},
        {"breaker:\n  failures: 1001\n  failed_part: 1.1\n  minimum: 0\n  window: 0\n  "
         "open: 0\n  open_max: 86401\n",
         "f:2: breaker.failures: must be between 0 and 1000\n"
         "f:3: breaker.failed_part: must be between 0 and 1\n"
         "f:4: breaker.minimum: must be between 1 and 100000\n"
         "f:5: breaker.window: must be between 0.01 and 86400 seconds\n"
         "f:6: breaker.open: must be between 0.001 and 86400 seconds\n"
         "f:7: breaker.open_max: must be between 0.001 and 86400 seconds\n"},
        {"breaker:\n  open: 60\n  open_max: 59.5\n",
         "f:3: breaker.open_max: must not be below open, which is 60 seconds\n"},
        {"breaker:\n  open_max: 29s\n",
         "f:2: breaker.open_max: must not be below open, which is 30 seconds\n"},
        {"breaker:\n  failures: 1\n  open: 10m\n",
         "f:3: breaker.open: must not be above open_max, which is 300 seconds\n"},
        {"breaker: {open: long, open_max: 1}\n",
         "f:1: breaker.open: a duration is wanted: seconds, or such as 250ms, 30s, 5m, 1h\n"},
        {"breaker: []\n", "f:1: breaker: a block of keys is wanted\n"},
        {P "models: {m: {provider: p, price: {input: 0.0000001, output: 0}}}\n" R,
         "f:2: models.m.price.input: less than 0.000001 USD per million tokens\n"},
        {P M "routes: {auto: {drafter: m, heavyweight: m, stream: {mode: x}, speculative: {max: "
             "1}, breaker: {}}}\n",
         "f:3: routes.auto.breaker: unknown key\n"
         "f:3: routes.auto.stream.mode: must be one of: hold, live\n"
         "f:3: routes.auto.speculative.max: unknown key\n"},
        {"cache: {similarity_threshold: 2}\n",
         "f:1: cache.similarity_threshold: must be between 0 and 1\n"},
        {"cache: {embedder: model}\n",
         "f:1: cache.embedding_model: required, since cache.embedder is model\n"},
        {P M "routes: {auto: {drafter: m, heavyweight: m, cache: {max_bytes: 1, file: x}}}\n",
         "f:3: routes.auto.cache.max_bytes: is for all routes: it belongs in the top level's "
         "block\n"
         "f:3: routes.auto.cache.file: is for all routes: it belongs in the top level's block\n"},
        {P "models: {m: {provider: p, capabilities: [logprobs]}}\n"
           "routes: {auto: {drafter: m, heavyweight: m, cache: {embedding_model: m}}}\n",
         "f:3: routes.auto.cache.embedding_model: the model `m` is declared without embeddings\n"},
        {"cache: {embedder: x, embedding_dimensions: 0}\n",
         "f:1: cache.embedder: must be one of: model, lexical, none\n"
         "f:1: cache.embedding_dimensions: must be between 1 and 65536\n"},
        {"trace: {file: \"\", text: 1}\n", "f:1: trace.file: must not be empty\n"
                                           "f:1: trace.text: true or false is wanted\n"},
        {"metrics: {path: metrics}\n", "f:1: metrics.path: must begin with `/`\n"},
        {"metrics: {path: \"/m?x\"}\n",
         "f:1: metrics.path: may hold only visible ASCII characters, without ? # %\n"},
        {"metrics: {path: /v1/models}\n", "f:1: metrics.path: is taken by another endpoint\n"},
        {"metrics: {path: /health}\n", "f:1: metrics.path: is taken by another endpoint\n"},
        {"providers: {p: {base_url: http://h/v1, retries: 11, max_concurrent: 1000001, "
         "prefill: x}}\n" M R,
         "f:1: providers.p.retries: must be between 0 and 10\n"
         "f:1: providers.p.max_concurrent: must be between 0 and 1000000\n"
         "f:1: providers.p.prefill: must be one of: none, plain, vllm, deepseek, "
         "mistral, anthropic\n"},
        {P "models: {m: {provider: p, price: {input: -1, output: 1000001}, context: -3}}\n" R,
         "f:2: models.m.context: must be between 0 and 1000000000\n"
         "f:2: models.m.price.input: must be between 0 and 1000000\n"
         "f:2: models.m.price.output: must be between 0 and 1000000\n"},
};

START_TEST(test_values_out_of_range)
{
	ASSERT_ROWS(rows_of_values_out_of_range);
}
END_TEST

static const struct row rows_of_addresses[] = {
        {"server: {port: 80, listen: [\"*:80\"]}\n",
         "f:1: server.listen: give either port or listen, not both\n"},
        {"server: {listen: []}\n", "f:1: server.listen: must not be empty\n"},
        {"server:\n  listen:\n  - localhost\n  - localhost:\n  - \"[::1:80\"\n  - h:65536\n"
         "  - ::1:80\n  - a b:80\n  - 'h:80'\n  - h:80\n",
         "f:3: server.listen[0]: must be HOST:PORT, such as 127.0.0.1:8080, \"[::1]:8080\" "
         "or "
         "\"*:8080\"\n"
         "f:4: server.listen[1]: a text is wanted\n"
         "f:5: server.listen[2]: must be HOST:PORT, such as 127.0.0.1:8080, \"[::1]:8080\" "
         "or "
         "\"*:8080\"\n"
         "f:6: server.listen[3]: the port must be between 0 and 65535\n"
         "f:7: server.listen[4]: the port must be between 0 and 65535\n"
         "f:8: server.listen[5]: the host is no name and no address\n"
         "f:10: server.listen[7]: this address is listed already\n"},
        {"drafter: {base_url: ftp://h/}\n",
         "f:1: drafter.base_url: must begin with http:// or https://\n"},
        {"drafter: {base_url: https://user:pw@h/v1}\n",
         "f:1: drafter.base_url: may not hold a user or password; use api_key\n"},
        {"drafter: {base_url: https:///v1}\n", "f:1: drafter.base_url: has no valid host\n"},
        {"drafter: {base_url: \"https://[::g]/v1\"}\n",
         "f:1: drafter.base_url: has no valid host\n"},
        {"drafter: {base_url: https://h:0/v1}\n",
         "f:1: drafter.base_url: has a port that is not between 1 and 65535\n"},
        {"drafter: {base_url: https://h/v1?k=v}\n",
         "f:1: drafter.base_url: may not hold a query or fragment\n"},
        {"drafter: {base_url: https://h/v 1}\n",
         "f:1: drafter.base_url: may hold only visible ASCII characters\n"},
        {"drafter: {base_url: \"\"}\n", "f:1: drafter.base_url: must not be empty\n"},
        {"server: {tls: {certificate: /etc/passwd}}\n",
         "f:1: server.tls.key: required for HTTPS\n"},
        {"server:\n  tls:\n    key: /etc/passwd\n",
         "f:2: server.tls.certificate: required for HTTPS\n"},
        {"server: {tls: {}}\n", "f:1: server.tls.certificate: required for HTTPS\n"
                                "f:1: server.tls.key: required for HTTPS\n"},
        {"server: {tls: {certificate: /nowhere/c.pem, key: /}}\n",
         "f:1: server.tls.certificate: the file cannot be read: No such file or directory\n"
         "f:1: server.tls.key: the file is not a regular file\n"},
};

START_TEST(test_addresses)
{
	ASSERT_ROWS(rows_of_addresses);
}
END_TEST

static const struct row rows_of_references[] = {
        {P "models: {m: {provider: q}}\n" R, "f:2: models.m.provider: no provider named q\n"},
        {"providers: {openai: {base_url: https://h/v1}}\nmodels: {m: {provider: "
         "opena}}\n" R,
         "f:2: models.m.provider: no provider named opena; did you mean `openai`?\n"},
        {P "models: {m: {}}\n" R, "f:2: models.m.provider: required\n"},
        {P "models: {m: }\n" R, "f:2: models.m.provider: required\n"},
        {"providers: {p: {}}\n" M R, "f:1: providers.p.base_url: required\n"},
        {"providers: {p: }\n" M R, "f:1: providers.p.base_url: required\n"},
        {P M "routes: {auto: {drafter: small, heavyweight: m}}\n",
         "f:3: routes.auto.drafter: no model named small\n"},
        {P M "routes:\n  auto:\n    drafter: m\n    heavyweight: [m, big]\n",
         "f:6: routes.auto.heavyweight[1]: no model named big\n"},
        {P "models: {large: {provider: p}}\nroutes: {a: {drafter: larg, heavyweight: "
           "large}}\n",
         "f:3: routes.a.drafter: no model named larg; did you mean `large`?\n"},
        {P M "routes: {auto: {heavyweight: m}}\n", "f:3: routes.auto.drafter: required\n"},
        {P M "routes: {auto: }\n", "f:3: routes.auto.drafter: required\n"
                                   "f:3: routes.auto.heavyweight: required\n"},
        {P M "routes: {auto: {drafter: [], heavyweight: m}}\n",
         "f:3: routes.auto.drafter: must not be empty\n"},
        {P M "routes: {auto: {drafter: m, heavyweight: [m, m]}}\n",
         "f:3: routes.auto.heavyweight[1]: is listed already\n"},
        {P M "routes: {}\n", "f:3: routes: at least one route is required\n"},
        {P M, "f:1: routes: at least one route is required\n"},
        {P M "routes: {m: {drafter: m, heavyweight: m}}\n",
         "f:3: routes.m: a model has this name too\n"},
        {P M "routes: {a/b: {drafter: m, heavyweight: m}}\n",
         "f:3: routes.a/b: a name must be 1 to 64 visible ASCII characters without `/`\n"},
        {"providers: {p/q: {base_url: http://h}}\n" M R,
         "f:1: providers.p/q: a name must be 1 to 64 visible ASCII characters without `/`\n"
         "f:2: models.m.provider: no provider named p\n"},
        {P "models: {\"\": {provider: p}, m: {provider: p}}\n" R,
         "f:2: models.: a name must be 1 to 255 visible ASCII characters\n"},
        {P "models: {m: {provider: p, capabilities: [tools, json]}}\n" R,
         "f:3: routes.auto.drafter: logprobs: a drafter must be able to give them\n"},
        {P "models: {m: {provider: p, capabilities: []}}\n" R,
         "f:3: routes.auto.drafter: logprobs: a drafter must be able to give them\n"},
        {P "models: {m: {provider: p, capabilities: [embeddings]}}\n" R,
         "f:3: routes.auto.drafter: a model that has only embeddings cannot answer\n"
         "f:3: routes.auto.heavyweight: a model that has only embeddings cannot answer\n"},
        {P "models: {m: {provider: p, capabilities: [logprob, tools, tools, 3]}}\n" R,
         "f:2: models.m.capabilities[0]: must be one of: tools, json, vision, logprobs, "
         "embeddings\n"
         "f:2: models.m.capabilities[2]: is listed already\n"
         "f:2: models.m.capabilities[3]: a text is wanted; put it in quotes\n"
         "f:3: routes.auto.drafter: logprobs: a drafter must be able to give them\n"},
        {P "models: {m: {provider: p, price: {cached_input: 1}}}\n" R,
         "f:2: models.m.price.input: required\n"
         "f:2: models.m.price.output: required\n"},
        {P M "routes: {auto: {models: [m], drafter: m, heavyweight: m}}\n",
         "f:3: routes.auto.drafter: a route is either a pool (models) or a cascade (drafter and "
         "heavyweight)\n"
         "f:3: routes.auto.heavyweight: a route is either a pool (models) or a cascade (drafter "
         "and heavyweight)\n"},
        {P M "routes: {auto: {drafter: m, heavyweight: m, strategy: order}}\n",
         "f:3: routes.auto.strategy: only a pool (models) has one\n"},
        {P M "routes: {auto: {models: [m], strategy: fastest}}\n",
         "f:3: routes.auto.strategy: must be one of: order, health, weighted\n"},
        {P M "routes: {auto: {models: []}, a: {models: }, b: {models: {m: 1}}}\n",
         "f:3: routes.auto.models: must not be empty\n"
         "f:3: routes.a.models: a model's name or a list of names is wanted\n"
         "f:3: routes.b.models: a model's name or a list of names is wanted\n"},
        {P M "routes: {auto: {models: [m, {model: m, weight: 2}, n, {weight: 3}, [m]]}}\n",
         "f:3: routes.auto.models[1].model: is listed already\n"
         "f:3: routes.auto.models[2]: no model named n\n"
         "f:3: routes.auto.models[3].model: required\n"
         "f:3: routes.auto.models[4]: a text is wanted\n"},
        {P M "routes: {auto: {models: [{model: m, weight: 0}, {model: m, wait: 1}]}}\n",
         "f:3: routes.auto.models[0].weight: must be between 1 and 1000\n"
         "f:3: routes.auto.models[1].wait: unknown key\n"
         "f:3: routes.auto.models[1].model: is listed already\n"},
        {P "models: {m: {provider: p, capabilities: [embeddings]}}\n"
           "routes: {auto: {models: m, reasoning_effort: auto}}\n",
         "f:3: routes.auto.reasoning_effort: must be one of: low, medium, high\n"
         "f:3: routes.auto.models: a model that has only embeddings cannot answer\n"},
        {"drafter: {provider: local}\n",
         "f:1: drafter.base_url: required, since the provider is not openai\n"},
        {"drafter: {provider: a/b, base_url: http://h}\n",
         "f:1: drafter.provider: a name must be 1 to 64 visible ASCII characters without "
         "`/`\n"},
        {"drafter: {}\n" P M R, "f:1: drafter: the short form (drafter, heavyweight) and the long "
                                "form (providers, models, routes) cannot be mixed\n"},
        {P M R "heavyweight:\n", "f:4: heavyweight: the short form (drafter, heavyweight) and the "
                                 "long form (providers, models, routes) cannot be mixed\n"},
};

START_TEST(test_references)
{
	ASSERT_ROWS(rows_of_references);
}
END_TEST

static const struct row rows_of_headers[] = {
        {"drafter:\n  headers:\n    host: h\n    Content-Length: \"3\"\n    "
         "Transfer-encoding: "
         "x\n    CONNECTION: close\n    Content-Type: a/b\n",
         "f:3: drafter.headers.host: this header is the gateway's own to set\n"
         "f:4: drafter.headers.Content-Length: this header is the gateway's own to set\n"
         "f:5: drafter.headers.Transfer-encoding: this header is the gateway's own to set\n"
         "f:6: drafter.headers.CONNECTION: this header is the gateway's own to set\n"
         "f:7: drafter.headers.Content-Type: this header is the gateway's own to set\n"},
        {"drafter: {api_key: k, headers: {authorization: Basic x}}\n",
         "f:1: drafter.headers.authorization: api_key sets this header already\n"},
        {"drafter: {headers: {A: b, a: c}}\n", "f:1: drafter.headers.a: repeated header\n"},
        {"drafter: {headers: {\"A B\": b, \"\": c, \"D\\r\\nE\": f}}\n",
         "f:1: drafter.headers.A…: is no name of a header\n"
         "f:1: drafter.headers.: is no name of a header\n"
         "f:1: drafter.headers.D…: is no name of a header\n"},
        {"drafter: {headers: {A: \"b\\r\\nC: d\"}}\n",
         "f:1: drafter.headers.A: may not hold control characters\n"},
        {"drafter: {headers: {A: \"\", B: 3, C: , D: [e]}}\n",
         "f:1: drafter.headers.A: must not be empty\n"
         "f:1: drafter.headers.B: a text is wanted; put it in quotes\n"
         "f:1: drafter.headers.C: has no value; a text is wanted\n"
         "f:1: drafter.headers.D: a text is wanted\n"},
};

START_TEST(test_headers)
{
	ASSERT_ROWS(rows_of_headers);
}
END_TEST

START_TEST(test_all_faults_come_at_once_in_the_order_of_lines)
{
	assert_errors("log: {level: loud}\n"
	              "entropy:\n"
	              "  threshold: -1\n"
	              "  windw_size: 3\n"
	              "server: {port: 0, workers: x}\n"
	              "entropy: {}\n"
	              "drafter: {model: \"\"}\n",
	              "f:1: log.level: must be one of: debug, info, warn, error\n"
	              "f:3: entropy.threshold: must be between 0 and 64\n"
	              "f:4: entropy.windw_size: unknown key; did you mean `window_size`?\n"
	              "f:5: server.workers: a whole number is wanted\n"
	              "f:5: server.port: must be between 1 and 65535\n"
	              "f:6: entropy: repeated key; it stands on line 2 already\n"
	              "f:7: drafter.model: must not be empty\n");
}
END_TEST

START_TEST(test_authorization_may_be_a_header_where_there_is_no_key)
{
	struct config *config;

	setenv("OPENAI_API_KEY", "sk-environment", 1);
	config = config_good("drafter: {headers: {Authorization: Basic x}}\n");
	ck_assert_ptr_null(config->models[0].provider->api_key);
	ck_assert_str_eq(config->models[0].provider->headers[0].value, "Basic x");
	config_unref(config);
}
END_TEST

#define QUIET "server: {listen: [\"127.0.0.1:0\"]}\n"
#define OPEN                                                                                       \
	"is open on every interface and no client keys are configured: whoever reaches it can "    \
	"use "                                                                                     \
	"the models\n"

START_TEST(test_what_has_no_effect_yet_is_said_once_a_block)
{
	static const struct {
		const char *yaml, *warnings;
	} rows[] = {
	        {QUIET, ""},
	        {QUIET "cache:\n  ttl_seconds: 60\n  file: x\n", ""},
	        {QUIET "cache: {enabled: false, file: x}\n", ""},
	        {QUIET "cache: {}\ntrace:\nstream:\n", ""},
	        {QUIET "cache: {enabled: false, qdrant_collection: c}\n",
	         "f:2: cache.qdrant_collection: ignored: the cache needs no Qdrant\n"},
	        {QUIET "trace: {text: false}\n", ""},
	        {QUIET "trace: {file: t.jsonl}\n",
	         "f:2: trace: accepted, but this version does not write traces yet\n"},
	        {QUIET P
	         "models: {m: {provider: p, price: {input: 1, output: 2}, context: 100}}\n" R,
	         ""},
	        {QUIET P M "routes: {auto: {models: [m], cache: {enabled: true}, stream: {}}}\n",
	         "f:4: routes.auto.stream: without effect: a pool neither drafts nor keeps "
	         "answers\n"
	         "f:4: routes.auto.cache: without effect: a pool neither drafts nor keeps "
	         "answers\n"},
	        {QUIET P M "routes: {auto: {strategy: order, models: [{model: m, weight: 2}]}}\n",
	         "f:4: routes.auto.models[0].weight: without effect: the strategy is order\n"},
	        {QUIET P M "routes: {auto: {models: [{model: m, weight: 2}]}}\n", ""},
	        {QUIET P M "routes: {auto: {drafter: m, heavyweight: m, cache: {enabled: true}, "
	                   "stream: {mode: live}, speculative: {enabled: true}}}\n",
	         ""},
	        {"", "f:1: server.port: port 8080 " OPEN},
	        {"log: {}\nserver:\n  port: 9000\n", "f:3: server.port: port 9000 " OPEN},
	        {"log: {}\nserver: {workers: 1}\n", "f:2: server.port: port 8080 " OPEN},
	        {"server: {listen: [\"127.0.0.1:1\", \":2\"]}\n",
	         "f:1: server.listen: port 2 " OPEN},
	        {"server: {listen: [\"[::]:2\"]}\n", "f:1: server.listen: port 2 " OPEN},
	        {"server: {listen: [0.0.0.0:2]}\n", "f:1: server.listen: port 2 " OPEN},
	};

	setenv("OPENAI_API_KEY", "sk-environment", 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_warnings(rows[i].yaml, rows[i].warnings);
}
END_TEST

/* unit repeated, between a head and a tail. */
static char *
text_repeat(const char *head, const char *unit, size_t count, const char *tail)
{
	size_t h = strlen(head), u = strlen(unit), t = strlen(tail);
	char *text = mem_new(h + u * count + t + 1), *p = text;

	memcpy(p, head, h);
	p += h;
	for (size_t i = 0; i < count; i++, p += u)
		memcpy(p, unit, u);
	memcpy(p, tail, t);
	return text;
}

START_TEST(test_huge_files_are_refused_in_little_time_and_memory)
{
	static const struct {
		const char *head, *unit;
		size_t count;
		const char *tail, *errors;
	} rows[] = {
	        {"", "#", (1 << 20) + 1, "", "f: larger than 1048576 bytes\n"},
	        {"x: [", "a,", 500000, "]", "f:1: the file has too many keys and values\n"},
	        {"", "[", 1 << 20, "", "f:1: nested too deeply\n"},
	        {"", "- ", 500000, "", "f:1: nested too deeply\n"},
	        {"log: {file: ", "x", 65537, "}\n", "f:1: the text is too long\n"},
	        {"log: {file: ", "x", 65536, "}\n",
	         "f:1: log.file: must not be longer than 1024 bytes\n"},
	        {"log: {file: \"", "$${", 20000, "\"}\n",
	         "f:1: log.file: must not be longer than 1024 bytes\n"},
	        {"log: {file: \"", "${BIG}", 100, "\"}\n",
	         "f:1: log.file: longer than 65536 bytes\n"},
	};
	char *big = text_repeat("", "b", 1000, "");

	setenv("BIG", big, 1);
	free(big);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *text = text_repeat(rows[i].head, rows[i].unit, rows[i].count, rows[i].tail);

		assert_errors(text, rows[i].errors);
		free(text);
	}
}
END_TEST

START_TEST(test_very_many_faults_are_counted_but_not_all_shown)
{
	struct buf text;
	struct config_report report;
	unsigned lines = 0;

	buf_init(&text, 0);
	for (int i = 0; i < 1000; i++)
		buf_add_format(&text, "k%d: 1\n", i);
	config_report_init(&report);
	ck_assert_ptr_null(config_parse("f", buf_bytes(&text), &report));
	ck_assert_uint_eq(report.error_count, 1000);
	for (size_t i = 0; i < report.errors.n; i++)
		lines += report.errors.p[i] == '\n';
	ck_assert_uint_eq(lines, 201);
	ck_assert_ptr_nonnull(
	        memmem(report.errors.p, report.errors.n, "more remarks are not shown", 26));
	config_report_fini(&report);
	buf_fini(&text);
}
END_TEST

UNIT_MAIN("config_faults", test_the_yaml_itself, test_unknown_and_repeated_keys, test_wrong_types,
          test_values_out_of_range, test_addresses, test_references, test_headers,
          test_all_faults_come_at_once_in_the_order_of_lines,
          test_authorization_may_be_a_header_where_there_is_no_key,
          test_what_has_no_effect_yet_is_said_once_a_block,
          test_huge_files_are_refused_in_little_time_and_memory,
          test_very_many_faults_are_counted_but_not_all_shown)
