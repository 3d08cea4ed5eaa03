#include "cache/guard_private.h"

#include "cache/letter.h"

/*
 * What may be left out of a question, or said in another way, without asking for something else. All of it is
 * about how a question begins and ends, and holds only there; where words are spoken of ("how do you say
 * please") nothing is left out.
 */

static bool
is_text(const struct guard_text *t, size_t at, const char *word)
{
	return at < t->count && t->tokens[at].guard != GUARD_NAMES &&
	       t->tokens[at].guard != GUARD_QUOTES && bytes_is(t->tokens[at].text, word);
}

static bool
has_flag(const struct guard_text *t, size_t at, uint32_t flag)
{
	return at < t->count && t->tokens[at].word && (t->tokens[at].word->flags & flag);
}

static bool
is_question(const struct guard_text *t, size_t at)
{
	return at < t->count && t->tokens[at].guard == GUARD_QUESTION && t->tokens[at].word;
}

/* How many tokens at that place are the phrase: all its words, or 0. */
static size_t
phrase_at(const struct guard_text *t, size_t at, const char *phrase)
{
	size_t count = 0;

	/* Most of them are told by their first letter. */
	if (at >= t->count || t->tokens[at].text.n == 0 || *t->tokens[at].text.p != *phrase)
		return 0;
	for (; *phrase; count++) {
		size_t n = strcspn(phrase, " ");

		if (at + count >= t->count || t->tokens[at + count].guard == GUARD_NAMES ||
		    t->tokens[at + count].guard == GUARD_QUOTES ||
		    !bytes_equal(t->tokens[at + count].text, (struct bytes){phrase, n}))
			return 0;
		phrase += n + (phrase[n] == ' ');
	}
	return count;
}

/* The longest of several phrases, each before those that it begins with. */
static size_t
phrase_of(const struct guard_text *t, size_t at, const char *const *phrases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t n = phrase_at(t, at, phrases[i]);

		if (n > 0)
			return n;
	}
	return 0;
}

#define PHRASE_OF(t, at, list) phrase_of(t, at, list, sizeof(list) / sizeof((list)[0]))

/* Is it the verb of an order to a model? Blood may be given by others. */
static bool
is_order(const struct guard_text *t, size_t at)
{
	return has_flag(t, at, ASKS) && (!is_text(t, at, "give") || is_text(t, at + 1, "me"));
}

/* Where an order, or the question itself, begins: "could you please" is passed over. */
static size_t
order_at(const struct guard_text *t, size_t at)
{
	static const char *const firm[] = {
	        "can you please",  "could you please", "would you please", "will you please",
	        "can you kindly",  "could you kindly", "would you kindly", "i would like you to",
	        "i'd like you to", "i want you to",    "i need you to"};
	static const char *const soft[] = {"can you", "could you"};
	size_t n = PHRASE_OF(t, at, firm);

	/* "Can you please a cat": what follows must be an order's verb. */
	if (n > 0 && at + n < t->count && t->tokens[at + n].guard == GUARD_WORDS &&
	    !has_flag(t, at + n, FUNCTION))
		return at + n;
	n = PHRASE_OF(t, at, soft);
	if (n > 0 && is_order(t, at + n))
		return at + n;
	if (is_text(t, at, "please") || is_text(t, at, "kindly")) {
		n = PHRASE_OF(t, at + 1, soft);
		if (n > 0 && is_order(t, at + 1 + n))
			return at + 1 + n;
		if (has_flag(t, at + 1, ASKS) || is_question(t, at + 1))
			return at + 1;
	}
	return at;
}

/* Where the question begins behind "tell me" and its like. */
static size_t
question_at(const struct guard_text *t, size_t at)
{
	static const char *const phrases[] = {"tell me please",
	                                      "tell me",
	                                      "show me",
	                                      "teach me",
	                                      "explain to me",
	                                      "explain",
	                                      "describe to me",
	                                      "describe",
	                                      "i want to know",
	                                      "i need to know",
	                                      "i would like to know",
	                                      "i'd like to know",
	                                      "i wonder",
	                                      "i am wondering",
	                                      "i was wondering",
	                                      "do you know",
	                                      "does anyone know",
	                                      "does anybody know",
	                                      "do you happen to know",
	                                      "let me know",
	                                      "help me understand"};
	size_t n = PHRASE_OF(t, at, phrases);

	return n > 0 && is_question(t, at + n) ? at + n : at;
}

/* Leaves out the tokens before `first` and those from `last` on. */
static void
cut(struct guard_text *t, size_t first, size_t last)
{
	memmove(t->tokens, t->tokens + first, (last - first) * sizeof(*t->tokens));
	t->count = last - first;
}

/* Leaves out one token. */
static void
leave_out(struct guard_text *t, size_t at)
{
	t->tokens[at].guard = GUARD_NONE;
}

static void
close_gaps(struct guard_text *t)
{
	size_t count = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->tokens[i].guard != GUARD_NONE)
			t->tokens[count++] = t->tokens[i];
	}
	t->count = count;
}

static bool
is_be(const struct guard_text *t, size_t at)
{
	return is_text(t, at, "is") || is_text(t, at, "are") || is_text(t, at, "was") ||
	       is_text(t, at, "were");
}

/* Behind who, or how long: where a question has its verb. */
static size_t
verb_at(const struct guard_text *t)
{
	return is_text(t, 0, "how") && has_flag(t, 1, MEASURE) ? 2 : 1;
}

/* "(Tell me) what the capital of France is" to "what is the capital of France". */
static void
turn_question(struct guard_text *t)
{
	size_t at = verb_at(t), last;
	struct guard_token verb;

	if (t->count < 3)
		return;
	last = t->count - 1;
	if (last <= at || !is_be(t, last))
		return;
	for (size_t i = at; i < last; i++) {
		if (has_flag(t, i, AUX) || is_question(t, i))
			return;
	}
	verb = t->tokens[last];
	memmove(t->tokens + at + 1, t->tokens + at, (last - at) * sizeof(*t->tokens));
	t->tokens[at] = verb;
}

/* Thanks at the end. `is_ordered`: the text is an order, so please at its end belongs to it. */
static size_t
end_of(const struct guard_text *t, bool is_ordered)
{
	static const char *const phrases[] = {"thank you very much",
	                                      "thank you so much",
	                                      "thank you in advance",
	                                      "thank you",
	                                      "thanks in advance",
	                                      "thanks a lot",
	                                      "thanks so much",
	                                      "thanks",
	                                      "thx"};
	size_t last = t->count;

	for (size_t n = 1; n <= 4 && n < t->count; n++) {
		size_t at = t->count - n;

		if (t->tokens[at].after_stop && PHRASE_OF(t, at, phrases) == n) {
			last = at - t->tokens[at - 1].is_mark;
			break;
		}
	}
	if (last > 1 && is_text(t, last - 1, "please") &&
	    (is_ordered || t->tokens[last - 1].after_stop))
		last--;
	return last;
}

/* "Tell me the capital of France" to "what is the capital of France". */
static void
tell_to_what(struct guard_text *t)
{
	static const struct bytes what = {"what", 4}, is = {"is", 2}, are = {"are", 3};
	struct bytes noun;
	bool is_plural;

	if (phrase_at(t, 0, "tell me the") == 0 || !is_text(t, 4, "of") ||
	    t->tokens[3].guard != GUARD_WORDS || has_flag(t, 3, FUNCTION))
		return;
	noun = t->tokens[3].text;
	is_plural = noun.n > 3 && noun.p[noun.n - 1] == 's' && noun.p[noun.n - 2] != 's';
	t->tokens[0].text = what;
	t->tokens[0].guard = GUARD_QUESTION;
	t->tokens[0].word = guard_word_find(what);
	t->tokens[1].text = is_plural ? are : is;
	t->tokens[1].word = guard_word_find(is_plural ? are : is);
}

/* "How do I" to "how to", but where it is not about a way of doing. */
static void
how_to(struct guard_text *t)
{
	static const char *const starts[] = {"how do i", "how can i", "how does 1", "how can 1"};
	static const char *const others[] = {"look",    "feel",  "sound", "seem",   "love",
	                                     "compare", "die",   "rank",  "differ", "appear",
	                                     "fare",    "taste", "smell"};
	static const char *const spoken[] = {"say", "spell", "pronounce", "translate"};

	/* "How can I be late" and "how can I not" ask for a reason. */
	if (PHRASE_OF(t, 0, starts) == 0 || PHRASE_OF(t, 3, others) > 0 || t->count < 4 ||
	    t->tokens[3].guard != GUARD_WORDS || has_flag(t, 3, FUNCTION) || (t->flags & TITLE) ||
	    ((t->flags & MENTION) && PHRASE_OF(t, 3, spoken) == 0))
		return;
	t->tokens[1].text = bytes_of("to");
	t->tokens[1].guard = GUARD_WORDS;
	t->tokens[1].word = guard_word_find(t->tokens[1].text);
	leave_out(t, 2);
	close_gaps(t);
}

/*
 * "How does a lock work" to "how a lock work(s)": do and does only carry the question. Not behind what, which and how
 * many: what animals eat at night is not what they do. Nor is how fast trains run how fast they do, so there an article
 * or a pronoun must follow.
 */
static void
drop_do(struct guard_text *t)
{
	static const char *const questions[] = {"how", "why", "when", "where"};
	size_t at = verb_at(t);

	if (t->count < 4 || (t->flags & (TITLE | MENTION)) || PHRASE_OF(t, 0, questions) == 0 ||
	    !(is_text(t, at, "do") || is_text(t, at, "does")) ||
	    t->tokens[at + 1].guard == GUARD_NEGATION ||
	    (at == 2 && !has_flag(t, at + 1, FUNCTION)) || is_text(t, 1, "many") ||
	    is_text(t, 1, "much"))
		return;
	leave_out(t, at);
	close_gaps(t);
}

/* Of a noun that has one of its own, or of the best. */
static bool
is_the_one(const struct guard_text *t, size_t at)
{
	return has_flag(t, at, THE) || (at < t->count && t->tokens[at].guard == GUARD_WORDS &&
	                                !has_flag(t, at, FUNCTION) && is_text(t, at + 1, "of"));
}

/* "What is (the) capital of", "what are (the) best": the article changes nothing. In the front of a bus is not in front
 * of it, so it must follow such a verb. */
static void
drop_the(struct guard_text *t)
{
	if (t->flags & (TITLE | MENTION))
		return;
	for (size_t i = 0; i + 1 < t->count; i++) {
		if (is_text(t, i, "the") && (i == 0 || is_be(t, i - 1)) && is_the_one(t, i + 1)) {
			leave_out(t, i);
			t->tokens[i + 1].is_definite = true;
		}
	}
	close_gaps(t);
}

/* Is what stands there the pronoun, and not a letter or a number? */
static bool
is_pronoun(const struct guard_text *t, size_t at)
{
	static const char *const before[] = {"do",   "did", "can",   "could", "should", "would",
	                                     "will", "may", "might", "must",  "have",   "had",
	                                     "am",   "was", "shall", "when",  "if",     "because"};
	static const char *const behind[] = {"am",    "was",    "have", "had",   "want",   "need",
	                                     "would", "will",   "can",  "could", "should", "must",
	                                     "do",    "did",    "get",  "use",   "like",   "think",
	                                     "know",  "wonder", "may",  "just",  "also"};

	if (at > 1 && is_text(t, at - 1, "not") && PHRASE_OF(t, at - 2, before) > 0)
		return true;
	return (at > 0 && PHRASE_OF(t, at - 1, before) > 0) || PHRASE_OF(t, at + 1, behind) > 0;
}

static bool
is_operator(const struct guard_text *t, size_t at)
{
	return at < t->count && t->tokens[at].guard == GUARD_NUMBERS && !t->tokens[at].is_number &&
	       !t->tokens[at].word && !letter_is_digit((unsigned char)*t->tokens[at].text.p);
}

/* What a token is by its neighbours. */
static void
judge_neighbours(struct guard_text *t)
{
	for (size_t i = 0; i < t->count; i++) {
		struct guard_token *token = &t->tokens[i];

		if (token->is_letter && is_pronoun(t, i)) {
			token->guard = GUARD_WORDS;
			token->text = bytes_of("i");
		} else if (token->word && !token->after_stop && is_text(t, i, "1") && i > 0 &&
		           is_text(t, i - 1, "no")) {
			/* No one is not number one. */
			token->text = bytes_of("one");
		} else if (is_text(t, i, "a") &&
		           (is_operator(t, i + 1) || (i > 0 && is_operator(t, i - 1)))) {
			token->guard = GUARD_NAMES;
		} else if (i > 0 && token->guard == GUARD_WORDS && has_flag(t, i, MEASURE) &&
		           is_text(t, i - 1, "how")) {
			token->guard = GUARD_QUESTION;
		} else if (token->guard == GUARD_WORDS && has_flag(t, i + 1, TIME) &&
		           (is_text(t, i, "next") || is_text(t, i, "last") ||
		            is_text(t, i, "this") || is_text(t, i, "past"))) {
			token->guard = GUARD_DATES;
		}
	}
}

/*
 * 1,000 to 1000, and of an amount, which has a unit, 3.50 to 3.5. Elsewhere 3.10 may be a version, and is not
 * 3.1; and in other languages than English 1,000 is 1.
 */
static void
settle_numbers(struct guard_text *t)
{
	bool is_english = guard_text_is_english(t);

	for (size_t i = 0; i < t->count; i++) {
		struct guard_token *token = &t->tokens[i];
		bool is_amount = i + 1 < t->count && t->tokens[i + 1].guard == GUARD_UNITS;
		char *copy;
		size_t n = 0;

		if (!token->is_number)
			continue;
		if (is_english && memchr(token->text.p, ',', token->text.n)) {
			copy = guard_copy_take(t, token->text.n);
			for (size_t k = 0; k < token->text.n; k++) {
				if (token->text.p[k] != ',')
					copy[n++] = token->text.p[k];
			}
			token->text = (struct bytes){copy, n};
		}
		if (is_amount && memchr(token->text.p, '.', token->text.n)) {
			while (token->text.p[token->text.n - 1] == '0')
				token->text.n--;
			token->text.n -= token->text.p[token->text.n - 1] == '.';
		}
	}
}

/* Is it an order to make something? Such words begin no title, nor a text to be translated. */
static bool
is_order_to_make(const struct guard_text *t, size_t at)
{
	static const char *const verbs[] = {"write",     "create",  "generate",  "summarize",
	                                    "summarise", "suggest", "recommend", "translate"};

	return PHRASE_OF(t, at, verbs) > 0;
}

/* Leaves out politeness, and what only says that a question follows. */
static void
drop_manners(struct guard_text *t)
{
	static const char *const greetings[] = {"hi there", "hello there", "hey there",
	                                        "hi",       "hello",       "hey"};
	size_t greeting = PHRASE_OF(t, 0, greetings), order, question, last;

	greeting += greeting > 0 && greeting < t->count && t->tokens[greeting].is_mark;
	order = order_at(t, greeting);
	question = question_at(t, order);

	if (t->flags & (TITLE | MENTION)) {
		if (order > greeting && is_order_to_make(t, order))
			cut(t, order, t->count);
		return;
	}
	last = end_of(t, order > greeting || has_flag(t, order, ASKS));
	/* A greeting by itself may be what is asked about. */
	if (question == greeting)
		question = 0;
	if (question >= last)
		return;
	cut(t, question, last);
	if (question > order)
		turn_question(t);
	tell_to_what(t);
}

void
guard_phrase_apply(struct guard_text *t)
{
	judge_neighbours(t);
	settle_numbers(t);
	if (!guard_text_is_english(t))
		return;
	drop_manners(t);
	how_to(t);
	drop_do(t);
	drop_the(t);
}
