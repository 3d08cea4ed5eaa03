#include "cache/letter.h"

uint32_t
letter_next_wide(const char **p, const char *end)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *b = (const unsigned char *)*p;
	size_t left = (size_t)(end - *p);
	unsigned more = b[0] < 0xC0 ? 0 : b[0] < 0xE0 ? 1 : b[0] < 0xF0 ? 2 : b[0] < 0xF8 ? 3 : 4;
	uint32_t c = b[0];

	(*p)++;
	if (more == 0 || more > 3 || left <= more)
		return LETTER_BAD_BYTE + c;
	c &= 0x3FU >> more;
	for (unsigned i = 1; i <= more; i++) {
		if ((b[i] & 0xC0) != 0x80)
			return LETTER_BAD_BYTE + b[0];
		c = c << 6 | (b[i] & 0x3F);
	}
	if (c < least[more] || c >= LETTER_BAD_BYTE || (c >= 0xD800 && c <= 0xDFFF))
		return LETTER_BAD_BYTE + b[0];
	*p += more;
	return c;
}

size_t
letter_write(uint32_t c, char *out)
{
	if (c < 0x80 || c >= LETTER_BAD_BYTE) {
		out[0] = (char)(c & 0xFF);
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* Latin Extended-A: capitals and small letters side by side, the capital first, but where it changes step. */
static uint32_t
fold_latin(uint32_t c)
{
	if (c == 0x130 || c == 0x131 || c == 0x138 || c == 0x149 || c == 0x17F)
		return c;
	if (c == 0x178)
		return 0xFF;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
		return c & 1 ? c + 1 : c;
	return c & 1 ? c : c + 1;
}

static uint32_t
fold_greek(uint32_t c)
{
	static const uint8_t accented[] = {
	        [0x06] = 0xAC, [0x08] = 0xAD, [0x09] = 0xAE, [0x0A] = 0xAF,
	        [0x0C] = 0xCC, [0x0E] = 0xCD, [0x0F] = 0xCE};

	if (c >= 0x391 && c <= 0x3AB && c != 0x3A2)
		return c + 0x20;
	if (c >= 0x386 && c <= 0x38F && accented[c - 0x380])
		return 0x300 + accented[c - 0x380];
	return c;
}

static uint32_t
fold_cyrillic(uint32_t c)
{
	if (c < 0x410)
		return c + 0x50;
	if (c < 0x430)
		return c + 0x20;
	if ((c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF) || c >= 0x4D0)
		return c & 1 ? c : c + 1;
	if (c >= 0x4C1 && c <= 0x4CE)
		return c & 1 ? c + 1 : c;
	return c == 0x4C0 ? 0x4CF : c;
}

uint32_t
letter_fold_wide(uint32_t c)
{
	if (c < 0x100)
		return c >= 0xC0 && c <= 0xDE && c != 0xD7 ? c + 0x20 : c;
	if (c < 0x180)
		return fold_latin(c);
	if (c >= 0x370 && c < 0x400)
		return fold_greek(c);
	if (c >= 0x400 && c < 0x530)
		return fold_cyrillic(c);
	/* Latin Extended Additional, of Vietnamese above all. */
	if ((c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF))
		return c & 1 ? c : c + 1;
	return c;
}

bool
letter_is_wide_space(uint32_t c)
{
	return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
	       c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Blocks of punctuation, signs and pictures. */
static bool
is_mark(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} blocks[] = {
	        {0x80, 0xA9},     {0xAB, 0xB4},       {0xB6, 0xB9},     {0xBB, 0xBF},
	        {0xD7, 0xD7},     {0xF7, 0xF7},       {0x2000, 0x200B}, {0x200E, 0x2BFF},
	        {0x3000, 0x3004}, {0x3007, 0x3020},   {0x3030, 0x3030}, {0xFE10, 0xFE1F},
	        {0xFE30, 0xFE6F}, {0xFEFF, 0xFF20},   {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65},
	        {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF},
	};

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		if (c <= blocks[i].last)
			return c >= blocks[i].first;
	}
	return c >= LETTER_BAD_BYTE;
}

bool
letter_is_wide_letter(uint32_t c)
{
	return !is_mark(c) && !letter_is_wide_space(c);
}

bool
letter_is_wide_ideograph(uint32_t c)
{
	return c <= 0x3007 || (c >= 0x3041 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) ||
	       (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}
