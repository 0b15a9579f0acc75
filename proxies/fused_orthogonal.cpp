// The nearest half-orthogonal matrices, roughly, by steps of Newton and Schulz in bfloat16; one thread.
//
// A step is X <- (a I + b G + c G G) X with G = X X', M x M. Polynomials of one G commute and are symmetric, so that
// those of several steps are multiplied first, and the next G is made of G by them; of every such product half is
// computed. For M x 3 M that is less than half of the operations. But a small singular value drowns in the rounding of
// G, and what is made of it may grow with every step: after SPAN steps X is made of the product, and G of X.

#include <algorithm>
#include <cmath>
#include <utility>

#include "products.h"

namespace {

constexpr long SPAN = 3;  // at 5, matrices of one large singular value become some thousand times too large

// Products of a matrix M x K, and what they need of memory.
struct Room {
    const long M, K;
    const Scratch<pair> packed;
    const Scratch<float> block, mirror;
    const Tiles tiles;

    Room(long M, long K) : M(M), K(K), packed(M * K / 2), block(COLUMNS * COLUMNS), mirror(COLUMNS * COLUMNS) {}

    // to = left right' of M rows of `width` each, which is known to be symmetric: blocks on the diagonal and below it
    // are computed, the others are their mirrors. each(x, r, c) changes sixteen entries from row r, column c on.
    template <class Each>
    void symmetric(const bf16* left, const bf16* right, long width, bf16* to, Each each) const {
        pack_transposed(right, M, width, packed);
        for (long c = 0; c < M; c += COLUMNS)
            for (long r = c; r < M; r += COLUMNS) {
                for (long i = 0; i < COLUMNS; i += ROWS)
                    product(tiles, (const pair*)left + (r + i) * width / 2, width / 2, packed + c * width / 2, COLUMNS,
                            width / 2, [&](long k, __m512 low, __m512 high) {
                                put(i + k, 0, each(low, r + i + k, c), to + (r + i + k) * M + c);
                                put(i + k, 16, each(high, r + i + k, c + 16), to + (r + i + k) * M + c + 16);
                            });
                if (r > c) reflect(to + c * M + r);
            }
    }

    void symmetric(const bf16* left, const bf16* right, long width, bf16* to) const {
        symmetric(left, right, width, to, [](__m512 x, long, long) { return x; });
    }

    // to = left x, M x K.
    void times(const bf16* left, const bf16* x, bf16* to) const {
        pack([=, this](long k) { return x + k * K; }, M, K, packed);
        for (long c = 0; c < K; c += COLUMNS)
            for (long r = 0; r < M; r += ROWS)
                product(tiles, (const pair*)left + r * M / 2, M / 2, packed + c * M / 2, COLUMNS, M / 2,
                        [&](long k, __m512 low, __m512 high) {
                            narrow(to + (r + k) * K + c, low);
                            narrow(to + (r + k) * K + c + 16, high);
                        });
    }

   private:
    void put(long row, long column, __m512 x, bf16* to) const {
        _mm512_store_ps(block + row * COLUMNS + column, x);
        narrow(to, x);
    }

    void reflect(bf16* to) const {
        for (long r = 0; r < COLUMNS; r += 16)
            for (long c = 0; c < COLUMNS; c += 16)
                transpose((const pair*)(block + r * COLUMNS + c), COLUMNS, (pair*)(mirror + c * COLUMNS + r), COLUMNS);
        for (long r = 0; r < COLUMNS; ++r)
            for (long c = 0; c < COLUMNS; c += 16) narrow(to + r * M + c, _mm512_load_ps(mirror + r * COLUMNS + c));
    }
};

// to = x over its norm.
void normalize(const float* x, bf16* to, long size, float least) {
    __m512 sum = _mm512_setzero_ps();
    for (long i = 0; i < size; i += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(x + i), sum);
    const __m512 norm = _mm512_set1_ps(std::max(std::sqrt(_mm512_reduce_add_ps(sum)), least));
    for (long i = 0; i < size; i += 16) narrow(to + i, _mm512_div_ps(_mm512_loadu_ps(x + i), norm));
}

}  // namespace

// N matrices M x K, M <= K, both multiples of 32, one after another: each stays in the cache.
extern "C" void orthogonalize(const float* from, bf16* to, long N, long M, long K, long steps, float a, float b, float c,
                              float least) {
    const Room room(M, K);
    const Scratch<bf16> turned(M * K), first(M * M), second(M * M), third(M * M), fourth(M * M);
    for (long n = 0; n < N; ++n, from += M * K, to += M * K) {
        bf16 *x = to, *next = turned, *gram = first, *factor = second, *product = third, *spare = fourth;
        normalize(from, x, M * K, least);
        for (long done = 0; done < steps; done += SPAN) {
            room.symmetric(x, x, K, gram);
            for (long step = 0, count = std::min(SPAN, steps - done); step < count; ++step) {
                room.symmetric(gram, gram, M, factor, [=](__m512 y, long row, long column) {
                    y = _mm512_mul_ps(_mm512_set1_ps(c), y);
                    y = _mm512_fmadd_ps(_mm512_set1_ps(b), wide(gram + row * M + column), y);
                    const __mmask16 diagonal = row >= column && row < column + 16 ? 1u << (row - column) : 0;
                    return _mm512_mask_add_ps(y, diagonal, y, _mm512_set1_ps(a));
                });
                if (step + 1 < count) {
                    room.symmetric(factor, gram, M, spare);
                    room.symmetric(spare, factor, M, gram);
                }
                if (step == 0) {
                    std::swap(product, factor);
                } else {
                    room.symmetric(factor, product, M, spare);
                    std::swap(product, spare);
                }
            }
            room.times(product, x, next);
            std::swap(x, next);
        }
        if (x != to) std::copy_n(x, M * K, to);
    }
}
