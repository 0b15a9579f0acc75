// The slope of a product's matrix, g' x, in bfloat16, one thread: a block of rows at a time is packed, multiplied and
// added up in float32.
//
// M models, N rows of each (a multiple of 32), F and D widths (multiples of 32).

#include "slopes.h"

namespace {

// The columns of `narrow` stand at the left, since turning them costs more than pairing the rows of `wide`.
void sums(const Tiles& tiles, const bf16* narrow, long height, const bf16* wide, long width, long N, pair* left,
          pair* right, float* to) {
    for (long first = 0; first < N; first += BLOCK) {
        const long count = std::min(BLOCK, N - first);
        pack_left(narrow + first * height, count, height, left);
        pack([&](long r) { return wide + (first + r) * width; }, count, width, right);
        slopes(tiles, left, height, right, width, count / 2, first, to);
    }
}

}  // namespace

// g: [M][N][F]; x: [M][N][D]; dw: [M][F][D].
extern "C" void weight_slope(const bf16* g, const bf16* x, bf16* dw, long M, long N, long F, long D) {
    const Tiles tiles;
    Scratch<pair> left(BLOCK / 2 * std::min(F, D)), right(BLOCK / 2 * std::max(F, D));
    Scratch<float> found(F * D);
    for (long m = 0; m < M; ++m, g += N * F, x += N * D, dw += F * D)
        if (F <= D) {
            sums(tiles, g, F, x, D, N, left, right, found);
            narrow_rows(found, F, D, dw);
        } else {
            sums(tiles, x, D, g, F, N, left, right, found);
            narrow_columns(found, D, F, dw);
        }
}
