// The nearest half-orthogonal matrix, roughly, by steps of Newton and Schulz in bfloat16.
//
// A step is X <- (a I + b G + c G G) X with G = X X', M x M. Polynomials of one G commute and are symmetric, so that
// those of several steps are multiplied first, and the next G is made of G by them; of every such product half is
// computed. For M x 3 M that is less than half of the operations. But a small singular value drowns in the rounding of
// G, and what is made of it may grow with every step: after SPAN steps X is made of the product, and G of X.

#pragma once

#include <utility>

#include "rows.h"

namespace {

// a x + b x^3 + c x^5 of singular values, so many times.
struct Polynomial {
    float a, b, c;
    long steps;
};

// What it takes for matrices M x K, M <= K, both multiples of 32.
class Orthogonal {
    static constexpr long SPAN = 3;  // at 5, matrices of one large singular value become some thousand times too large

    const Tiles tiles;
    const long M, K;
    const Polynomial steps;
    Scratch<pair> packed;
    Scratch<float> panel, mirror;
    Scratch<bf16> turned, matrices[4];

    // to = left right' of M rows of `width` each, which is known to be symmetric: panels are computed from the diagonal
    // down, the rest are their mirrors. each(x, r, c) changes sixteen entries from row r, column c on.
    template <class Each>
    void symmetric(const bf16* left, const bf16* right, long width, bf16* to, Each each) const {
        pack_transposed(right, M, width, packed);
        for (long c = 0; c < M; c += COLUMNS) {
            const auto keep = [&](long r, long, __m512 low, __m512 high) {
                low = each(low, c + r, c), high = each(high, c + r, c + 16);
                _mm512_store_ps(panel + r * COLUMNS, low);
                _mm512_store_ps(panel + r * COLUMNS + 16, high);
                _mm512_storeu_si512(to + (c + r) * M + c, joined(low, high));
            };
            times(tiles, left + c * width, M - c, width, packed + c * width / 2, COLUMNS, keep);
            for (long r = COLUMNS; r < M - c; r += COLUMNS) reflect(panel + r * COLUMNS, to + c * M + c + r);
        }
    }

    void symmetric(const bf16* left, const bf16* right, long width, bf16* to) const {
        symmetric(left, right, width, to, [](__m512 x, long, long) { return x; });
    }

    void reflect(const float* block, bf16* to) const {
        for (long r = 0; r < COLUMNS; r += 16)
            for (long c = 0; c < COLUMNS; c += 16)
                transpose((const pair*)(block + r * COLUMNS + c), COLUMNS, (pair*)(mirror + c * COLUMNS + r), COLUMNS);
        for (long r = 0; r < COLUMNS; ++r) {
            const float* row = mirror + r * COLUMNS;
            _mm512_storeu_si512(to + r * M, joined(_mm512_load_ps(row), _mm512_load_ps(row + 16)));
        }
    }

   public:
    Orthogonal(long M, long K, const Polynomial& steps)
        : M(M), K(K), steps(steps), packed(M * K / 2), panel(M * COLUMNS), mirror(COLUMNS * COLUMNS), turned(M * K),
          matrices{Scratch<bf16>(M * M), Scratch<bf16>(M * M), Scratch<bf16>(M * M), Scratch<bf16>(M * M)} {}

    // What x, of norm one, is turned into, where it stands or in memory of this.
    const bf16* of(bf16* x) const {
        bf16 *next = turned, *gram = matrices[0], *factor = matrices[1], *product = matrices[2], *spare = matrices[3];
        const __m512 a = _mm512_set1_ps(steps.a), b = _mm512_set1_ps(steps.b), c = _mm512_set1_ps(steps.c);
        for (long done = 0; done < steps.steps; done += SPAN) {
            symmetric(x, x, K, gram);
            for (long step = 0, count = std::min(SPAN, steps.steps - done); step < count; ++step) {
                symmetric(gram, gram, M, factor, [=](__m512 y, long row, long column) {
                    y = _mm512_fmadd_ps(b, wide(gram + row * M + column), c * y);
                    const __mmask16 diagonal = row >= column && row < column + 16 ? 1u << (row - column) : 0;
                    return _mm512_mask_add_ps(y, diagonal, y, a);
                });
                if (step + 1 < count) {
                    symmetric(factor, gram, M, spare);
                    symmetric(spare, factor, M, gram);
                }
                if (step == 0) {
                    std::swap(product, factor);
                } else {
                    symmetric(factor, product, M, spare);
                    std::swap(product, spare);
                }
            }
            pack([=, this](long k) { return x + k * K; }, M, K, packed);
            times(tiles, product, M, M, packed, K, [=, this](long r, long k, __m512 low, __m512 high) {
                _mm512_storeu_si512(next + r * K + k, joined(low, high));
            });
            std::swap(x, next);
        }
        return x;
    }
};

}  // namespace
