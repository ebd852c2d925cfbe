// SPDX-License-Identifier: Apache-2.0
// EACH(M, a, b, ...): M(a), M(b), ... for one to six arguments.
#pragma once

#define EACH_1(M, a)                        M(a)
#define EACH_2(M, a, ...)                   M(a), EACH_1(M, __VA_ARGS__)
#define EACH_3(M, a, ...)                   M(a), EACH_2(M, __VA_ARGS__)
#define EACH_4(M, a, ...)                   M(a), EACH_3(M, __VA_ARGS__)
#define EACH_5(M, a, ...)                   M(a), EACH_4(M, __VA_ARGS__)
#define EACH_6(M, a, ...)                   M(a), EACH_5(M, __VA_ARGS__)
#define EACH_PICK(a, b, c, d, e, f, M, ...) M
#define EACH(M, ...)                                                                               \
    EACH_PICK(__VA_ARGS__, EACH_6, EACH_5, EACH_4, EACH_3, EACH_2, EACH_1, )(M, __VA_ARGS__)
