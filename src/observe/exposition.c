#include "observe/exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void
exposition_add_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_add_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void
exposition_add_number(struct buf *out, double value)
{
	const double exact = 9007199254740992.0; /* up to 2^53 every integer is a double */
	char text[32];

	if (isinf(value)) {
		buf_add_text(out, value > 0 ? "+Inf" : "-Inf");
		return;
	}
	if (fabs(value) < exact && value == trunc(value)) {
		buf_add_format(out, "%lld", (long long)value);
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	buf_add_text(out, text);
}

void
exposition_add_label_value(struct buf *out, const char *value)
{
	bool is_text = bytes_is_utf8(bytes_of(value));

	buf_add(out, "\"", 1);
	for (; *value; value++) {
		if (*value == '\n')
			buf_add(out, "\\n", 2);
		else if (*value == '\\' || *value == '"')
			buf_add(out, (char[]){'\\', *value}, 2);
		else
			buf_add(out, !is_text && (*value & 0x80) ? "?" : value, 1);
	}
	buf_add(out, "\"", 1);
}
