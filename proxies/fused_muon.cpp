// A step of Muon, matrix after matrix: from the gradient to the weights it stays in a core's cache; AVX-512 with bf16
// units, one thread. What is turned is in bfloat16, all else in float32.

#include <cfloat>
#include <cmath>

#include "orthogonal.h"

namespace {

// Matrices as they stand in memory, which may be tall; those that are turned are wide.
struct Shape {
    long rows, columns;

    bool is_tall() const { return rows > columns; }
    long size() const { return rows * columns; }
};

// How averages are kept, and what is moved by them.
struct Rule {
    float momentum, squares, epsilon, decay, rate;
};

// Brings averages of gradients and, unless null, of their squares up to date, and returns the norm of `to`: what
// Nesterov's rule takes, over the root of squares. Approximate roots are: bfloat16 is what they are read in.
float average(const float* grad, float* momentum, float* squares, long size, const Rule& rule, float* to) {
    const __m512 kept = _mm512_set1_ps(rule.momentum), kept_squares = _mm512_set1_ps(rule.squares);
    const __m512 epsilon = _mm512_set1_ps(rule.epsilon), least = _mm512_set1_ps(FLT_MIN);
    __m512 sum = _mm512_setzero_ps();
    for (long i = 0; i < size; i += 16) {
        const __m512 g = _mm512_loadu_ps(grad + i);
        const __m512 m = _mm512_fmadd_ps(kept, _mm512_loadu_ps(momentum + i) - g, g);
        __m512 x = _mm512_fmadd_ps(kept, m - g, g);
        _mm512_storeu_ps(momentum + i, m);
        if (squares) {
            const __m512 square = g * g;
            const __m512 mean = _mm512_fmadd_ps(kept_squares, _mm512_loadu_ps(squares + i) - square, square);
            const __m512 safe = _mm512_max_ps(least, mean);  // NaN stays NaN
            x *= _mm512_rcp14_ps(_mm512_fmadd_ps(safe, _mm512_rsqrt14_ps(safe), epsilon));
            _mm512_storeu_ps(squares + i, mean);
        }
        sum = _mm512_fmadd_ps(x, x, sum);
        _mm512_store_ps(to + i, x);
    }
    return std::sqrt(_mm512_reduce_add_ps(sum));
}

// each(row, column, block): sixteen rows of sixteen, which are those of the transpose.
template <class Each>
void blocks_of(const Shape& shape, Each each) {
    alignas(64) float block[16][16];
    for (long r = 0; r < shape.rows; r += 16)
        for (long c = 0; c < shape.columns; c += 16) each(r, c, block);
}

// A wide matrix in bfloat16, scaled.
void narrow_wide(const float* from, const Shape& shape, float scale, bf16* to) {
    const __m512 factor = _mm512_set1_ps(scale);
    if (!shape.is_tall()) {
        for (long i = 0; i < shape.size(); i += 16) narrow(to + i, _mm512_load_ps(from + i) * factor);
        return;
    }
    blocks_of(shape, [&](long r, long c, float (*block)[16]) {
        transpose((const pair*)from + r * shape.columns + c, shape.columns, (pair*)block[0], 16);
        for (long i = 0; i < 16; ++i) narrow(to + (c + i) * shape.rows + r, _mm512_load_ps(block[i]) * factor);
    });
}

// Moves weights against `turned`, which is wide, after they have shrunk.
void move(float* weights, const bf16* turned, const Shape& shape, const Rule& rule) {
    const __m512 left = _mm512_set1_ps(1.0f - rule.decay), rate = _mm512_set1_ps(rule.rate);
    const auto moved = [&](float* at, __m512 by) {
        _mm512_storeu_ps(at, _mm512_fnmadd_ps(rate, by, _mm512_loadu_ps(at) * left));
    };
    if (!shape.is_tall()) {
        for (long i = 0; i < shape.size(); i += 16) moved(weights + i, wide(turned + i));
        return;
    }
    blocks_of(shape, [&](long r, long c, float (*block)[16]) {
        for (long i = 0; i < 16; ++i) _mm512_store_ps(block[i], wide(turned + (c + i) * shape.rows + r));
        transpose((const pair*)block[0], 16, (pair*)block[0], 16);
        for (long i = 0; i < 16; ++i) moved(weights + (r + i) * shape.columns + c, _mm512_load_ps(block[i]));
    });
}

}  // namespace

// N matrices one after another, rows and columns multiples of 32; squares may be null.
extern "C" void muon(float* weights, const float* grads, float* momenta, float* squares, long N, long rows,
                     long columns, long steps, float a, float b, float c, float kept, float kept_squares,
                     float epsilon, float decay, float rate, float least) {
    const Shape shape{rows, columns};
    const Rule rule{kept, kept_squares, epsilon, decay, rate};
    const Orthogonal orthogonal(std::min(rows, columns), std::max(rows, columns), {a, b, c, steps});
    Scratch<float> averaged(shape.size());
    Scratch<bf16> x(shape.size());
    for (long n = 0; n < N; ++n) {
        const long at = n * shape.size();
        float* own_squares = squares ? squares + at : nullptr;
        const float norm = average(grads + at, momenta + at, own_squares, shape.size(), rule, averaged);
        narrow_wide(averaged, shape, 1.0f / (norm < least ? least : norm), x);
        move(weights + at, orthogonal.of(x), shape, rule);
    }
}
