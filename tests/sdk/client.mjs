// One conversation of the official openai package for Node with the gateway, by name; what came of it is
// written as JSON. Driven by test_node.py: client.mjs PACKAGE BASE_URL CASE MODEL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, baseURL, name, model] = process.argv;
const { default: OpenAI } = await import(pathToFileURL(createRequire(`${folder}/x.js`).resolve("openai")));

const client = new OpenAI({ baseURL, apiKey: "sk-client", maxRetries: 0, timeout: 20000 });
const ask = { model, messages: [{ role: "user", content: "What is the capital of France?" }] };
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];

async function collect(parameters) {
	const chunks = [];
	for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, ...parameters })) chunks.push(chunk);
	return chunks;
}

const cases = {
	plain: () => client.chat.completions.create(ask),
	stream: () => collect({}),
	usage: () => collect({ stream_options: { include_usage: true } }),
	logprobs: () => client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 }),
	streamed_logprobs: () => collect({ logprobs: true, top_logprobs: 2 }),
	tools: () => client.chat.completions.create({ ...ask, tools }),
	streamed_helper: () => client.chat.completions.stream(ask).finalChatCompletion(),
	streamed_tools: () => client.chat.completions.stream({ ...ask, tools }).finalChatCompletion(),
	bad_parameter: () => client.chat.completions.create({ ...ask, temperature: 3 }),
	timeout: () => client.chat.completions.create(ask, { timeout: 300 }),
	models: async () => {
		const ids = [];
		for await (const entry of client.models.list()) ids.push(entry.id);
		return ids;
	},
	model: () => client.models.retrieve(model),
	abort_stream: async () => {
		const stream = await client.chat.completions.create({ ...ask, stream: true });
		for await (const chunk of stream) {
			stream.controller.abort();
			return chunk;
		}
	},
	abort_before_answer: async () => {
		const controller = new AbortController();
		const answer = client.chat.completions.create(ask, { signal: controller.signal });
		// The driver says when upstream has the request.
		process.stdin.once("data", () => controller.abort());
		return answer;
	},
	break: async () => {
		let said = "";
		try {
			for await (const chunk of await client.chat.completions.create({ ...ask, stream: true }))
				said += chunk.choices[0]?.delta?.content ?? "";
		} catch (error) {
			error.said = said;
			throw error;
		}
		return said;
	},
};

let outcome;
try {
	outcome = { value: await cases[name]() };
} catch (error) {
	outcome = {
		error: error.constructor.name,
		status: error.status ?? null,
		type: error.type ?? null,
		code: error.code ?? null,
		param: error.param ?? null,
		message: error.message,
		said: error.said,
		request_id: error.requestID ?? null,
		retry_after: error.headers?.get?.("retry-after") ?? null,
	};
}
process.stdout.write(JSON.stringify(outcome) + "\n", () => process.exit(0));
