// SPDX-License-Identifier: Apache-2.0
// The end of a function of libfdt whose stack frame was overrun.
#pragma once

_Noreturn void __stack_chk_fail(void);
