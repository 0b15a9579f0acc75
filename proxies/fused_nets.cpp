// Dense nets, one a model: each takes the rows of its model where they stand, and writes there.
//
// M models, N rows of all, D model width, F hidden width (both multiples of 32).

#include "nets.h"

// y = down(relu(up(x))^2), N x D; kept for the way back: N x F.
extern "C" void nets(const bf16* x, const bf16* up, const bf16* down, bf16* y, bf16* kept, long N, long D, long F,
                     long M) {
    forward(Standing{N / M}, x, up, down, kept, y, D, F, M);
}

// Slopes of what `nets` reads, from dy.
extern "C" void nets_backward(const bf16* dy, const bf16* x, const bf16* up, const bf16* down, const bf16* kept,
                              bf16* dx, bf16* dup, bf16* ddown, long N, long D, long F, long M) {
    backward(Standing{N / M}, dy, x, up, down, kept, dx, (float*)nullptr, dup, ddown, D, F, M);
}
