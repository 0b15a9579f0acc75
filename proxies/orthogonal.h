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

// A symmetric matrix as products read it, at their left by rows and at their right in panels.
struct Symmetric {
    Scratch<bf16> rows;
    Scratch<pair> packed;

    explicit Symmetric(long M) : rows(M * M), packed(M * M / 2) {}
};

// What it takes for matrices M x K, M <= K, both multiples of 32.
class Orthogonal {
    static constexpr long SPAN = 3;  // at 5, matrices of one large singular value become some thousand times too large

    const Tiles tiles;
    const long M, K;
    const Polynomial polynomial;
    const Scratch<pair> packed;
    const Scratch<bf16> turned;
    const Symmetric matrices[4];

    // to = left right, M x M, which is known to be symmetric: blocks on the diagonal and below it are computed, the
    // others are their mirrors. each(x, r, c) changes sixteen entries from row r, column c on.
    template <class Each>
    void multiply(const bf16* left, const pair* right, long width, const Symmetric& to, Each each) const {
        for (long c = 0; c < M; c += COLUMNS) {
            ByTwo pairs;
            const auto keep = [&](long below, long, __m512 low, __m512 high) {
                const long r = c + below;
                const __m512i row = joined(each(low, r, c), each(high, r, c + 16));
                _mm512_storeu_si512(to.rows + r * M + c, row);
                pairs.take(r, row, to.packed + c * M / 2 + r / 2 * COLUMNS);
                if (r % COLUMNS == COLUMNS - 1 && below >= COLUMNS) mirror(to, r + 1 - COLUMNS, c);
            };
            times(tiles, left + c * width, M - c, width, right + c * width / 2, COLUMNS, keep);
        }
    }

    // Puts the block of 32 rows from r and columns from c on where rows are columns, by rows and in panels.
    void mirror(const Symmetric& to, long r, long c) const {
        const pair *rows = (const pair*)(to.rows + r * M + c), *words = to.packed + c * M / 2 + r / 2 * COLUMNS;
        pair *across = to.packed + r * M / 2 + c / 2 * COLUMNS, *upright = (pair*)(to.rows + c * M + r);
        for (long half = 0; half < COLUMNS; half += 16) {
            transpose(rows + half * M / 2, M / 2, across + half, COLUMNS);
            transpose(words + half, COLUMNS, upright + half * M / 2, M / 2);
        }
    }

    void multiply(const Symmetric& left, const Symmetric& right, const Symmetric& to) const {
        multiply(left.rows, right.packed, M, to, [](__m512 x, long, long) { return x; });
    }

   public:
    Orthogonal(long M, long K, const Polynomial& polynomial)
        : M(M), K(K), polynomial(polynomial), packed(M * K / 2), turned(M * K),
          matrices{Symmetric(M), Symmetric(M), Symmetric(M), Symmetric(M)} {}

    // What x, of norm one, is turned into, where it stands or in memory of this.
    const bf16* of(bf16* x) const {
        bf16* next = turned;
        const Symmetric *gram = matrices, *factor = gram + 1, *product = gram + 2, *spare = gram + 3;
        const __m512 a = _mm512_set1_ps(polynomial.a), b = _mm512_set1_ps(polynomial.b);
        const __m512 c = _mm512_set1_ps(polynomial.c);
        for (long done = 0; done < polynomial.steps; done += SPAN) {
            pack_transposed(x, M, K, packed);
            multiply(x, packed, K, *gram, [](__m512 y, long, long) { return y; });
            for (long step = 0, count = std::min(SPAN, polynomial.steps - done); step < count; ++step) {
                multiply(gram->rows, gram->packed, M, *factor, [=](__m512 y, long row, long column) {
                    y = _mm512_fmadd_ps(b, wide(gram->rows + row * M + column), c * y);
                    const __mmask16 diagonal = row >= column && row < column + 16 ? 1u << (row - column) : 0;
                    return _mm512_mask_add_ps(y, diagonal, y, a);
                });
                if (step + 1 < count) {
                    multiply(*factor, *gram, *spare);
                    multiply(*spare, *factor, *gram);
                }
                if (step == 0) {
                    std::swap(product, factor);
                } else {
                    multiply(*factor, *product, *spare);
                    std::swap(product, spare);
                }
            }
            pack([=, this](long k) { return x + k * K; }, M, K, packed);
            times(tiles, product->rows, M, M, packed, K, [=, this](long r, long k, __m512 low, __m512 high) {
                _mm512_storeu_si512(next + r * K + k, joined(low, high));
            });
            std::swap(x, next);
        }
        return x;
    }
};

}  // namespace
