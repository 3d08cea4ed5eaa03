/* Requests to go on with a partial answer; all else about requests is in test_chat_request.c. */
#include "rope_text.h"
#include "unit.h"
#include "wire/chat_request.h"

#define HI   "{\"role\":\"user\",\"content\":\"hi\"}"
#define BODY "{\"messages\":[" HI "],\"model\":\"m\"}"
#define INSTRUCTION                                                                                \
	"{\"role\":\"user\",\"content\":\"Your previous answer was cut off. Continue it exactly "  \
	"where it stops. Repeat nothing of it, and write no introduction and no comment.\"}"
#define PARTIAL "{\"role\":\"assistant\",\"content\":\"The \\\"cap \\n\"}"

struct row {
	const char *rule;
	enum chat_prefill prefill;
	const char *partial;
	uint64_t tokens;
	const char *body, *want;
};

static const struct row rows[] = {
        {"no partial answer", CHAT_PREFILL_VLLM, NULL, 5, BODY, BODY},
        {"an instruction follows", CHAT_PREFILL_NONE, "The \"cap \n", 0, BODY,
         "{\"messages\":[" HI "," PARTIAL "," INSTRUCTION "],\"model\":\"m\"}"},
        {"plain", CHAT_PREFILL_PLAIN, "The \"cap \n", 0, BODY,
         "{\"messages\":[" HI "," PARTIAL "],\"model\":\"m\"}"},
        {"vllm adds its switches", CHAT_PREFILL_VLLM, "The \"cap \n", 0, BODY,
         "{\"messages\":[" HI "," PARTIAL "],\"model\":\"m\",\"add_generation_prompt\":false,"
         "\"continue_final_message\":true}"},
        {"vllm replaces the client's switches", CHAT_PREFILL_VLLM, "The \"cap \n", 0,
         "{\"continue_final_message\":null,\"messages\":[" HI "],\"model\":\"m\","
         "\"add_generation_prompt\":[true] }",
         "{\"continue_final_message\":true,\"messages\":[" HI "," PARTIAL "],\"model\":\"m\","
         "\"add_generation_prompt\":false }"},
        {"other servers get the client's switches", CHAT_PREFILL_PLAIN, "The \"cap \n", 0,
         "{\"continue_final_message\":\"x\",\"messages\":[" HI "],\"model\":\"m\"}",
         "{\"continue_final_message\":\"x\",\"messages\":[" HI "," PARTIAL "],\"model\":\"m\"}"},
        {"deepseek marks the message", CHAT_PREFILL_DEEPSEEK, "a", 0, BODY,
         "{\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\",\"prefix\":true}],"
         "\"model\":\"m\"}"},
        {"mistral marks the message", CHAT_PREFILL_MISTRAL, "a", 0, BODY,
         "{\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\",\"prefix\":true}],"
         "\"model\":\"m\"}"},
        {"anthropic gets no white space at the end", CHAT_PREFILL_ANTHROPIC, " a \r\n\xC2\xA0", 0,
         BODY,
         "{\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\" a\"}],\"model\":\"m\"}"},
        {"anthropic gets no message of nothing but white space", CHAT_PREFILL_ANTHROPIC, " \n", 5,
         "{\"messages\":[" HI "],\"max_tokens\":9,\"model\":\"m\"}",
         "{\"messages\":[" HI "],\"max_tokens\":9,\"model\":\"m\"}"},
        {"an empty answer is none", CHAT_PREFILL_NONE, "", 0, BODY, BODY},
        {"an empty answer is none for vllm", CHAT_PREFILL_VLLM, "", 0, BODY, BODY},
        {"every other byte of the messages stays", CHAT_PREFILL_PLAIN, "a", 0,
         " {\"messages\" : [ {\"content\":\"]\", \"role\":\"user\" } ,\n" HI "\t\r\n ] ,"
         "\"model\":\"m\"} ",
         " {\"messages\" : [ {\"content\":\"]\", \"role\":\"user\" } ,\n" HI
         ",{\"role\":\"assistant\",\"content\":\"a\"}\t\r\n ] ,\"model\":\"m\"} "},
        {"the gateway's own members go on both sides of the messages", CHAT_PREFILL_PLAIN, "a", 0,
         "{\"request_id\":\"r\",\"messages\":[" HI "],\"fallbacks\":[],\"model\":\"m\","
         "\"project_id\":\"p\"}",
         "{\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\"}],\"model\":\"m\"}"},
        {"the tokens said are taken off the limits", CHAT_PREFILL_PLAIN, "a", 30,
         "{\"max_tokens\":1e2,\"messages\":[" HI "],\"model\":\"m\","
         "\"max_completion_tokens\" : 200 }",
         "{\"max_tokens\":70,\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\"}],"
         "\"model\":\"m\",\"max_completion_tokens\" : 170 }"},
        {"of a limit at least 1 is left", CHAT_PREFILL_PLAIN, "a", 30,
         "{\"max_tokens\":30,\"max_completion_tokens\":7,\"messages\":[" HI "],\"model\":\"m\"}",
         "{\"max_tokens\":1,\"max_completion_tokens\":1,\"messages\":[" HI
         ",{\"role\":\"assistant\",\"content\":\"a\"}],\"model\":\"m\"}"},
        {"a limit that is null or not there stays so", CHAT_PREFILL_PLAIN, "a", 30,
         "{\"max_tokens\":null,\"messages\":[" HI "],\"model\":\"m\"}",
         "{\"max_tokens\":null,\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\"}],"
         "\"model\":\"m\"}"},
        {"no tokens said, no limit touched", CHAT_PREFILL_PLAIN, "a", 0,
         "{\"max_tokens\":1e2,\"messages\":[" HI "],\"model\":\"m\"}",
         "{\"max_tokens\":1e2,\"messages\":[" HI ",{\"role\":\"assistant\",\"content\":\"a\"}],"
         "\"model\":\"m\"}"},
};

START_TEST(test_a_partial_answer_is_gone_on_with_as_the_server_understands_it)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const struct chat_rewrite rewrite = {
		        .model = "m",
		        .prefill = row->prefill,
		        .partial = bytes_of(row->partial),
		        .partial_tokens = row->tokens,
		};
		struct chat_request request;
		struct api_error error;
		struct rope rope;
		struct buf out;

		rope_init(&rope, 2);
		ck_assert_msg(chat_request_read(&request, bytes_of(row->body), &error), "%s",
		              row->rule);
		chat_request_write(&request, &rewrite, &rope);
		out = rope_text(&rope, 100);
		ck_assert_msg(bytes_is(buf_bytes(&out), row->want), "%s: %.*s", row->rule,
		              (int)out.n, out.p);
		ck_assert_msg(chat_request_read(&request, buf_bytes(&out), &error), "%s",
		              row->rule);
		buf_fini(&out);
	}
}
END_TEST

START_TEST(test_a_draft_may_go_on_with_a_partial_answer_too)
{
	/* The most changes that one rewrite makes. */
	const struct chat_rewrite rewrite = {
	        .model = "up",
	        .draft = true,
	        .top_logprobs = 5,
	        .stream_usage = true,
	        .prefill = CHAT_PREFILL_VLLM,
	        .partial = bytes_of("a"),
	        .partial_tokens = 2,
	};
	struct chat_request request;
	struct api_error error;
	struct rope rope;
	struct buf out;

	rope_init(&rope, 1);
	ck_assert(chat_request_read(
	        &request,
	        bytes_of("{\"model\":\"m\",\"messages\":[" HI "],\"request_id\":\"r\","
	                 "\"project_id\":\"p\",\"fallbacks\":[],\"max_tokens\":5,"
	                 "\"max_completion_tokens\":6,\"stream\":false}"),
	        &error));
	chat_request_write(&request, &rewrite, &rope);
	out = rope_text(&rope, 100);
	ck_assert(!out.failed);
	ck_assert_msg(bytes_is(buf_bytes(&out),
	                       "{\"model\":\"up\",\"messages\":[" HI
	                       ",{\"role\":\"assistant\",\"content\":\"a\"}],\"max_tokens\":3,"
	                       "\"max_completion_tokens\":4,\"stream\":true,\"logprobs\":true,"
	                       "\"top_logprobs\":5,\"stream_options\":{\"include_usage\":true},"
	                       "\"add_generation_prompt\":false,\"continue_final_message\":true}"),
	              "%.*s", (int)out.n, out.p);
	buf_fini(&out);
}
END_TEST

UNIT_MAIN("chat_request_partial",
          test_a_partial_answer_is_gone_on_with_as_the_server_understands_it,
          test_a_draft_may_go_on_with_a_partial_answer_too)
