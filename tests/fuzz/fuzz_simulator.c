/* Feeds a body to the simulator's readers, and lets it answer what they took, both ways. */
#include <stdlib.h>

#include "simulator/completion.h"
#include "simulator/embedding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
answer(const struct sim_request *request, const struct sim_plan *plan, struct bytes prompt)
{
	struct sim_vocabulary *vocabulary = sim_vocabulary_new();
	struct sim_distribution_set *distributions = sim_distribution_set_new();
	struct buf out = {0};
	struct sim_completion *completion = sim_completion_new(&(struct sim_completion_spec){
	        .request = request,
	        .plan = plan,
	        .prompt = prompt,
	        .vocabulary = vocabulary,
	        .distributions = distributions,
	});

	if (completion) {
		while (sim_completion_next(completion, &out) == SIM_STEP_FRAME)
			;
		sim_completion_write(completion, &out);
	}
	/* Prompts are decoded to UTF-8, so whatever is made of them is UTF-8. */
	if (!bytes_is_utf8(buf_bytes(&out)))
		abort();
	buf_fini(&out);
	sim_completion_free(completion);
	sim_distribution_set_free(distributions);
	sim_vocabulary_free(vocabulary);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes body = {(const char *)data, size};
	struct sim_embedding_request *embedding = malloc(sizeof(*embedding));
	struct sim_request request;
	struct sim_plan plan;
	struct api_error error;
	struct buf text = {0};
	char why[256];

	sim_request_init(&request);
	sim_plan_init(&plan);
	if (sim_request_read(&request, body, &error) &&
	    sim_plan_read_prompt(&plan, buf_bytes(&request.prompt), SIM_MARKS_ALL, "m", &text, why,
	                         sizeof(why))) {
		/* Long answers are more of the same. */
		plan.tokens = plan.tokens < 40 ? plan.tokens : 40;
		request.n = request.n < 3 ? request.n : 3;
		sim_plan_add_doubt(&plan, buf_bytes(&text), 1);
		answer(&request, &plan, buf_bytes(&text));
	}
	if (embedding) {
		sim_embedding_request_init(embedding);
		if (sim_embedding_request_read(embedding, body, &error)) {
			embedding->dimensions =
			        embedding->dimensions < 16 ? embedding->dimensions : 16;
			buf_reset(&text);
			sim_embedding_write(embedding, &text);
		}
		sim_embedding_request_fini(embedding);
	}
	free(embedding);
	buf_fini(&text);
	sim_request_fini(&request);
	return 0;
}
