#include "base/rope.h"

void
rope_init(struct rope *rope, size_t borrow_bytes)
{
	*rope = (struct rope){.borrow_bytes = borrow_bytes};
	buf_init(&rope->own, 0);
}

void
rope_fini(struct rope *rope)
{
	buf_fini(&rope->own);
	rope->borrowed_count = 0;
}

void
rope_add(struct rope *rope, struct bytes piece)
{
	size_t i = rope->borrowed_count;

	if (rope->borrow_bytes == 0 || piece.n < rope->borrow_bytes || i == ROPE_BORROWED_MAX) {
		buf_add_bytes(&rope->own, piece);
		return;
	}
	rope->borrowed[i].at = rope->own.n;
	rope->borrowed[i].text = piece;
	rope->borrowed_count++;
}

size_t
rope_size(const struct rope *rope)
{
	size_t size = rope->own.n;

	for (size_t i = 0; i < rope->borrowed_count; i++)
		size += rope->borrowed[i].text.n;
	return size;
}

/* The part of `piece` that is to be read, the first byte of which is at `begin`. */
static size_t
read_piece(struct bytes piece, size_t begin, size_t offset, char *out, size_t n)
{
	size_t skip = offset > begin ? offset - begin : 0;
	size_t take;

	if (skip >= piece.n)
		return 0;
	take = piece.n - skip < n ? piece.n - skip : n;
	memcpy(out, piece.p + skip, take);
	return take;
}

size_t
rope_read(const struct rope *rope, size_t offset, char *out, size_t n)
{
	size_t begin = 0, own = 0, done = 0;

	for (size_t i = 0; i <= rope->borrowed_count && done < n; i++) {
		bool last = i == rope->borrowed_count;
		size_t end = last ? rope->own.n : rope->borrowed[i].at;
		struct bytes piece = {rope->own.p + own, end - own};

		done += read_piece(piece, begin, offset + done, out + done, n - done);
		begin += piece.n;
		own = end;
		if (last || done == n)
			break;
		done += read_piece(rope->borrowed[i].text, begin, offset + done, out + done,
		                   n - done);
		begin += rope->borrowed[i].text.n;
	}
	return done;
}
