// One conversation of another client library with the gateway, by name; what came of it is written as JSON.
// Driven by test_clients.py: clients.mjs PACKAGES BASE_URL LIBRARY CASE MODEL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, baseURL, library, name, model] = process.argv;
const load = (what) => import(pathToFileURL(createRequire(`${folder}/x.js`).resolve(what)));
const question = "What is the capital of France?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

async function vercel() {
	const { generateText, streamText, tool, jsonSchema } = await load("ai");
	const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
	const provider = createOpenAICompatible({ name: "gateway", baseURL, apiKey: "sk-client", includeUsage: true });
	const ask = { model: provider(model), prompt: question, maxRetries: 0 };
	const tools = { weather: tool({ description: "weather", inputSchema: jsonSchema(parameters) }) };
	const calls = (list) => list.map((call) => [call.toolCallId, call.toolName, call.input]);
	const collect = async (options) => {
		let failed;
		const result = streamText({ ...ask, ...options, onError: ({ error }) => (failed = error) });
		let text = "";
		for await (const part of result.textStream) text += part;
		if (failed) throw failed;
		return { text, calls: calls(await result.toolCalls), finish: await result.finishReason, total: (await result.usage).totalTokens };
	};
	return {
		plain: async () => {
			const result = await generateText(ask);
			return { text: result.text, calls: calls(result.toolCalls), finish: result.finishReason, total: result.usage.totalTokens };
		},
		tools: async () => {
			const result = await generateText({ ...ask, tools });
			return { text: result.text, calls: calls(result.toolCalls), finish: result.finishReason, total: result.usage.totalTokens };
		},
		stream: () => collect({}),
		streamed_tools: () => collect({ tools }),
	};
}

async function langchain() {
	const { ChatOpenAI } = await load("@langchain/openai");
	const client = new ChatOpenAI({ model, apiKey: "sk-client", maxRetries: 0, configuration: { baseURL } });
	const bound = client.bindTools([{ type: "function", function: { name: "weather", description: "weather", parameters } }]);
	const told = (message) => ({
		text: message.content,
		calls: (message.tool_calls ?? []).map((call) => [call.id, call.name, call.args]),
		finish: message.response_metadata.finish_reason,
		total: message.usage_metadata?.total_tokens,
	});
	const collect = async (who) => {
		let whole;
		for await (const chunk of await who.stream(question)) whole = whole ? whole.concat(chunk) : chunk;
		return told(whole);
	};
	return {
		plain: async () => told(await client.invoke(question)),
		tools: async () => told(await bound.invoke(question)),
		stream: () => collect(client),
		streamed_tools: () => collect(bound),
	};
}

let outcome;
try {
	const cases = await { vercel, langchain }[library]();
	outcome = { value: await cases[name]() };
} catch (error) {
	outcome = { error: error.name, status: error.statusCode ?? error.status ?? null, message: error.message };
}
process.stdout.write(JSON.stringify(outcome) + "\n", () => process.exit(0));
