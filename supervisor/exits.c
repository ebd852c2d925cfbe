// SPDX-License-Identifier: Apache-2.0
// SDM 3D Appendix C "VMX Basic Exit Reasons", in the words of its table C-1; of AMD-V, the rows of
// include/svm.h.
#include "supervisor/exits.h"

#include "include/svm.h"
#include "lib/fmt.h"

#include <stddef.h>

static const char *const vtx_names[ABI_EXIT_REASONS] = {
    [0] = "exception or NMI",
    [1] = "external interrupt",
    [2] = "triple fault",
    [3] = "INIT signal",
    [4] = "start-up IPI",
    [5] = "I/O SMI",
    [6] = "other SMI",
    [7] = "interrupt window",
    [8] = "NMI window",
    [9] = "task switch",
    [10] = "CPUID",
    [11] = "GETSEC",
    [12] = "HLT",
    [13] = "INVD",
    [14] = "INVLPG",
    [15] = "RDPMC",
    [16] = "RDTSC",
    [17] = "RSM",
    [18] = "VMCALL",
    [19] = "VMCLEAR",
    [20] = "VMLAUNCH",
    [21] = "VMPTRLD",
    [22] = "VMPTRST",
    [23] = "VMREAD",
    [24] = "VMRESUME",
    [25] = "VMWRITE",
    [26] = "VMXOFF",
    [27] = "VMXON",
    [28] = "control-register access",
    [29] = "MOV DR",
    [30] = "I/O instruction",
    [31] = "RDMSR",
    [32] = "WRMSR",
    [33] = "invalid guest state",
    [34] = "MSR loading",
    [36] = "MWAIT",
    [37] = "monitor trap flag",
    [39] = "MONITOR",
    [40] = "PAUSE",
    [41] = "machine-check event",
    [43] = "TPR below threshold",
    [44] = "APIC access",
    [45] = "virtualized EOI",
    [46] = "GDTR or IDTR access",
    [47] = "LDTR or TR access",
    [48] = "EPT violation",
    [49] = "EPT misconfiguration",
    [50] = "INVEPT",
    [51] = "RDTSCP",
    [52] = "preemption timer",
    [53] = "INVVPID",
    [54] = "WBINVD or WBNOINVD",
    [55] = "XSETBV",
    [56] = "APIC write",
    [57] = "RDRAND",
    [58] = "INVPCID",
    [59] = "VMFUNC",
    [60] = "ENCLS",
    [61] = "RDSEED",
    [62] = "page-modification log full",
    [63] = "XSAVES",
    [64] = "XRSTORS",
    [65] = "PCONFIG",
    [66] = "SPP-related event",
    [67] = "UMWAIT",
    [68] = "TPAUSE",
    [69] = "LOADIWKEY",
    [70] = "ENCLV",
    [72] = "ENQCMD PASID translation failure",
    [73] = "ENQCMDS PASID translation failure",
    [74] = "bus lock",
    [75] = "notify",
    [76] = "SEAMCALL",
    [77] = "TDCALL",
};

#define SVM_NAME(first, last, name, handler, words) [SVM_EXIT_##name] = words,
static const char *const svm_names[ABI_EXIT_REASONS] = {[SVM_EXIT_OTHER] = "unexpected exit",
                                                        SVM_EXITS(SVM_NAME)};
#undef SVM_NAME
_Static_assert(SVM_EXIT_COUNT <= ABI_EXIT_REASONS, "each is counted");

const char *exits_name(enum abi_virtualization virtualization, uint32_t reason) {
    const char *const *names = virtualization == ABI_VIRTUALIZATION_SVM ? svm_names : vtx_names;
    static char text[24];
    if (reason < ABI_EXIT_REASONS && names[reason] != NULL) {
        return names[reason];
    }
    fmt_format(text, sizeof(text), "reason %u", reason);
    return text;
}
