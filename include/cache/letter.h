/*
 * What can be told of a character without tables of Unicode: enough to cut texts into words and to put their case
 * aside. Letters of Latin, Greek and Cyrillic have a case; any other character that is neither space, mark nor digit
 * counts as a letter without one. Pure.
 */
#ifndef CACHE_LETTER_H
#define CACHE_LETTER_H

#include "base/bytes.h"

/* What a byte that is not UTF-8 becomes is above all characters. */
enum { LETTER_BAD_BYTE = 0x110000 };

/* What the functions below do beyond ASCII. */
uint32_t letter_next_wide(const char **p, const char *end);
uint32_t letter_fold_wide(uint32_t c);
bool letter_is_wide_space(uint32_t c);
bool letter_is_wide_letter(uint32_t c);
bool letter_is_wide_ideograph(uint32_t c);

/* The character at p, which is moved behind it; p < end. */
static inline uint32_t
letter_next(const char **p, const char *end)
{
	if ((unsigned char)**p < 0x80)
		return (unsigned char)*(*p)++;
	return letter_next_wide(p, end);
}

/* Writes a character, at most 4 bytes, and gives their number; a bad byte becomes itself. */
size_t letter_write(uint32_t c, char *out);

/* In lower case, where it has one; that takes no more bytes. */
static inline uint32_t
letter_fold(uint32_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
	return letter_fold_wide(c);
}

/* Line feeds too. */
static inline bool
letter_is_space(uint32_t c)
{
	if (c < 0x80)
		return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
	return letter_is_wide_space(c);
}

/* 0 to 9 alone. */
static inline bool
letter_is_digit(uint32_t c)
{
	return c >= '0' && c <= '9';
}

/* Of a word. */
static inline bool
letter_is_letter(uint32_t c)
{
	if (c < 0x80)
		return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
	return letter_is_wide_letter(c);
}

/* Of a script that leaves no space between words: Han, Kana; there each character stands for itself. */
static inline bool
letter_is_ideograph(uint32_t c)
{
	return c >= 0x3005 && letter_is_wide_ideograph(c);
}

#endif
