/*
 * The entropy of one sampled token, from its top-k candidates. Pure, no allocation.
 *
 * With p_i = exp(logprob_i) over the k candidates, the sampled token added if it is not among them,
 * and r = max(0, 1 − Σp_i) the mass they leave out, in bits:
 *
 *	bound        H = −Σ p_i·log2 p_i + r·log2(1/p_k), p_k the smallest positive of the k: a lower
 *	             bound of the true entropy, since nothing in the tail is likelier than p_k, and so
 *	             −Σ_tail p·log2 p ≥ Σ_tail p·log2(1/p_k) = r·log2(1/p_k)
 *	renormalise  q_i = p_i / Σp, H = −Σ q_i·log2 q_i; the tail thrown away
 */
#ifndef SCORE_TOKEN_H
#define SCORE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

enum entropy_tail { ENTROPY_TAIL_BOUND, ENTROPY_TAIL_RENORMALISE };

/* A logprob at or below this counts as p = 0: OpenAI sends -9999 for "not in the top 20". */
#define TOKEN_LOGPROB_ZERO (-9999.0)

/* Rounding puts the logprob of a certain token a little above 0, which counts as 0. One above this
 * is no logarithm of a probability at all. */
#define TOKEN_LOGPROB_SLACK 0.1

/*
 * top[count]: natural logs of the candidates; -INFINITY, TOKEN_LOGPROB_ZERO and NAN count as p = 0.
 * extra: the sampled token's logprob when it is not among them, else NAN.
 * Returns bits ≥ 0, or NAN when the token is unscorable: none of the k candidates has p > 0 (the
 * sampled token alone says nothing of the others), or a logprob is above TOKEN_LOGPROB_SLACK.
 */
double token_entropy(const double *top, size_t count, double extra, enum entropy_tail tail);

#endif
