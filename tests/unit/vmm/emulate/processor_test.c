// SPDX-License-Identifier: Apache-2.0
// The emulator against the processor this test runs on: the same bytes are executed natively on a
// buffer and emulated on a device of the same content; registers, flags and memory must agree.
#include <cpuid.h>

#include "tests/unit/vmm/emulate/native.h"

struct native {
    uint64_t rax, rcx, rdx, rsi, rdi, rbx, flags;
};

static void run_native(struct native *n, void (*code)(void)) {
    __asm__ volatile("sub $128, %%rsp\n\t" // the red zone
                     "pushq %[flags]\n\t"
                     "popfq\n\t"
                     "call *%[code]\n\t"
                     "pushfq\n\t"
                     "popq %[flags]\n\t"
                     "cld\n\t"
                     "add $128, %%rsp"
                     : "+a"(n->rax), "+c"(n->rcx), "+d"(n->rdx), "+S"(n->rsi), "+D"(n->rdi),
                       "+b"(n->rbx), [flags] "+r"(n->flags)
                     : [code] "r"(code)
                     : "memory", "cc");
}

// Prefixes that choose an operand size of 2, 4 or 8 bytes (1: the opcode chooses).
static void emit_size(struct code_buffer *c, unsigned size) {
    if (size == 2)
        emit(c, 0x66);
    if (size == 8)
        emit(c, 0x48);
}

static void emit_immediate(struct code_buffer *c, unsigned size) {
    uint64_t value = random_operand();

    for (unsigned k = 0; k < (size > 4 ? 4 : size); k++)
        emit(c, (unsigned)(value >> k * 8) & 0xff);
}

static unsigned random_size(unsigned least) {
    return least << random64() % (least == 1 ? 4 : 3);
}

// [rbx], with one of RAX, RCX, RDX (or AH, CH, DH when the size is 1) as the register.
static unsigned random_modrm(unsigned size) {
    unsigned reg = (unsigned)(random64() % 3);

    if (size == 1 && random64() & 1)
        reg += 4;
    return reg << 3 | 3;
}

static void emit_alu(struct code_buffer *c) {
    unsigned size = random_size(1);
    unsigned opcode = (unsigned)(random64() % 8) << 3 | (random64() & 1 ? 2 : 0) | (size > 1);

    emit_size(c, size);
    emit(c, opcode);
    emit(c, random_modrm(size));
}

static void emit_alu_immediate(struct code_buffer *c) {
    unsigned size = random_size(1);
    bool is_short = size > 1 && random64() & 1;

    emit_size(c, size);
    emit(c, size == 1 ? 0x80 : is_short ? 0x83 : 0x81);
    emit(c, (unsigned)(random64() % 8) << 3 | 3);
    emit_immediate(c, is_short ? 1 : size);
}

static void emit_group3(struct code_buffer *c) { // TEST NOT NEG INC DEC
    static const uint8_t opcodes[] = {0xf6, 0xf6, 0xf6, 0xfe, 0xfe};
    static const uint8_t regs[] = {0, 2, 3, 0, 1};
    unsigned size = random_size(1);
    unsigned which = (unsigned)(random64() % 5);

    emit_size(c, size);
    emit(c, opcodes[which] | (size > 1));
    emit(c, (unsigned)regs[which] << 3 | 3);
    if (which == 0)
        emit_immediate(c, size);
}

static void emit_register_forms(struct code_buffer *c) { // TEST XCHG MOV MOV
    static const uint8_t opcodes[] = {0x84, 0x86, 0x88, 0x8a};
    unsigned size = random_size(1);

    emit_size(c, size);
    emit(c, opcodes[random64() % 4] | (size > 1));
    emit(c, random_modrm(size));
}

static void emit_mov_immediate(struct code_buffer *c) {
    unsigned size = random_size(1);

    emit_size(c, size);
    emit(c, 0xc6 | (size > 1));
    emit(c, 3);
    emit_immediate(c, size);
}

static void emit_extensions(struct code_buffer *c) { // MOVZX, MOVSX, MOVSXD, MOVBE, MOVNTI
    static const uint8_t opcodes[] = {0xb6, 0xb7, 0xbe, 0xbf};
    unsigned which = (unsigned)(random64() % 7);

    emit_size(c, which == 4 ? 8 : which == 6 ? 4 : random_size(2));
    if (which != 4)
        emit(c, 0x0f);
    if (which == 5)
        emit(c, 0x38);
    emit(c, which < 4    ? opcodes[which]
            : which == 4 ? 0x63
            : which == 5 ? 0xf0 | (random64() & 1)
                         : 0xc3);
    emit(c, random_modrm(8));
}

static void emit_exchange(struct code_buffer *c) { // CMPXCHG, XADD, with and without LOCK
    unsigned size = random_size(1);

    if (random64() & 1)
        emit(c, 0xf0);
    emit_size(c, size);
    emit(c, 0x0f);
    emit(c, (random64() & 1 ? 0xb0 : 0xc0) | (size > 1));
    emit(c, random_modrm(size));
}

static void emit_bits(struct code_buffer *c) {
    unsigned size = random_size(2);
    unsigned op = (unsigned)(random64() % 4);
    bool is_immediate = random64() & 1;

    emit_size(c, size);
    emit(c, 0x0f);
    emit(c, is_immediate ? 0xba : 0xa3 + (op << 3));
    emit(c, is_immediate ? (op + 4) << 3 | 3 : (unsigned)(random64() % 3) << 3 | 3);
    if (is_immediate)
        emit_immediate(c, 1);
}

static void emit_string(struct code_buffer *c) { // MOVS CMPS STOS LODS SCAS
    static const uint8_t opcodes[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
    static const uint8_t repeats[] = {0, 0xf2, 0xf3};
    uint8_t repeat = repeats[random64() % 3];
    unsigned size = random_size(1);

    if (repeat)
        emit(c, repeat);
    emit_size(c, size);
    emit(c, opcodes[random64() % 5] | (size > 1));
}

static void emit_shift(struct code_buffer *c) {
    static const uint8_t opcodes[] = {0xc0, 0xd0, 0xd2};
    unsigned size = random_size(1);
    unsigned which = (unsigned)(random64() % 3);

    emit_size(c, size);
    emit(c, opcodes[which] | (size > 1));
    emit(c, (unsigned)(random64() % 8) << 3 | 3);
    if (which == 0)
        emit_immediate(c, 1);
}

static void emit_double_shift(struct code_buffer *c) {
    bool is_immediate = random64() & 1;

    emit_size(c, random_size(2));
    emit(c, 0x0f);
    emit(c, 0xa4 | (random64() & 1 ? 8 : 0) | !is_immediate);
    emit(c, random_modrm(8));
    if (is_immediate)
        emit_immediate(c, 1);
}

static void emit_multiply(struct code_buffer *c) { // IMUL
    unsigned size = random_size(2);
    unsigned which = (unsigned)(random64() % 3);

    emit_size(c, size);
    if (which == 0)
        emit(c, 0x0f);
    emit(c, which == 0 ? 0xaf : which == 1 ? 0x69 : 0x6b);
    emit(c, random_modrm(8));
    if (which != 0)
        emit_immediate(c, which == 1 ? size : 1);
}

static void emit_wide(struct code_buffer *c) { // MUL IMUL DIV IDIV
    unsigned size = random_size(1);

    emit_size(c, size);
    emit(c, 0xf6 | (size > 1));
    emit(c, (unsigned)(4 + random64() % 4) << 3 | 3);
}

static void emit_count(struct code_buffer *c) { // BSF BSR TZCNT LZCNT POPCNT
    static const uint8_t opcodes[] = {0xbc, 0xbd, 0xbc, 0xbd, 0xb8};
    unsigned which = (unsigned)(random64() % 5);

    if (which >= 2)
        emit(c, 0xf3);
    emit_size(c, random_size(2));
    emit(c, 0x0f);
    emit(c, opcodes[which]);
    emit(c, random_modrm(8));
}

static void emit_condition(struct code_buffer *c) { // CMOVcc, SETcc
    bool is_set = random64() & 1;

    if (!is_set)
        emit_size(c, random_size(2));
    emit(c, 0x0f);
    emit(c, (is_set ? 0x90 : 0x40) | (unsigned)(random64() % 16));
    emit(c, random_modrm(8));
}

static void emit_carry(struct code_buffer *c) { // ADCX ADOX CRC32
    unsigned which = (unsigned)(random64() % 4);
    unsigned size = random64() & 1 ? 8 : 4;

    emit(c, which == 0 ? 0x66 : which == 1 ? 0xf3 : 0xf2);
    emit_size(c, size);
    emit(c, 0x0f);
    emit(c, 0x38);
    emit(c, which < 2 ? 0xf6 : 0xee + which);
    emit(c, random_modrm(8));
}

static void emit_pair(struct code_buffer *c) { // CMPXCHG8B, CMPXCHG16B
    if (random64() & 1)
        emit(c, 0xf0);
    if (random64() & 1)
        emit(c, 0x48);
    emit(c, 0x0f);
    emit(c, 0xc7);
    emit(c, 1 << 3 | 7); // [rdi]: RBX is an operand
}

static void (*const emitters[])(struct code_buffer *) = {
    emit_alu,          emit_alu_immediate, emit_group3, emit_register_forms, emit_mov_immediate,
    emit_extensions,   emit_exchange,      emit_bits,   emit_string,         emit_shift,
    emit_double_shift, emit_multiply,      emit_wide,   emit_count,          emit_condition,
    emit_carry,        emit_pair,
};

// The processor's flags that an operation leaves undefined are not compared: SDM 2A to 2C,
// instruction by instruction.
static uint64_t defined_flags(const struct insn *insn, uint64_t count) {
    unsigned bits = insn->operand_size * 8u;

    count &= bits == 64 ? 63 : 31;
    if (insn->op >= INSN_MUL && insn->op <= INSN_IMUL_WIDE)
        return 0x801;
    if (insn->op == INSN_IMUL)
        return 0x801;
    if (insn->op == INSN_DIV || insn->op == INSN_IDIV)
        return 0;
    if (insn->op == INSN_BSF || insn->op == INSN_BSR)
        return FLAG_ZF;
    if (insn->op == INSN_TZCNT || insn->op == INSN_LZCNT)
        return FLAG_ZF | FLAG_CF;
    if (insn->op < INSN_ROL || insn->op > INSN_SHRD || count == 0)
        return FLAGS_RESULT;
    if (insn->op >= INSN_SHLD && count > bits)
        return 0;
    return (FLAGS_RESULT & ~0x810u & ~(insn->op >= INSN_SHL && count >= bits ? FLAG_CF : 0u)) |
           (count == 1 ? 0x800u : 0);
}

// Of a shift by more bits than there are, and of the bits of nothing, the result is undefined, too.
static bool is_result_defined(const struct insn *insn, uint64_t count, uint64_t memory) {
    unsigned bits = insn->operand_size * 8u;

    if (insn->op == INSN_SHLD || insn->op == INSN_SHRD)
        return (count & (bits == 64 ? 63 : 31)) <= bits;
    if (insn->op == INSN_BSF || insn->op == INSN_BSR)
        return (memory & UINT64_MAX >> (64 - bits)) != 0;
    return true;
}

// Dividends whose quotient fits, often; what the processor would answer with #DE it is not asked.
static bool is_division_possible(const struct insn *insn, const struct native *n, uint64_t memory) {
    struct alu_pair dividend = {n->rax, n->rdx}, result;
    unsigned size = insn->operand_size;

    if (size == 1)
        dividend = (struct alu_pair){(uint8_t)n->rax, (uint8_t)(n->rax >> 8)};
    dividend.high &= UINT64_MAX >> (64 - size * 8);
    return alu_divide(insn->op == INSN_IDIV, &dividend, memory, size, &result);
}

#define NEAR 192u // the bytes around the middle that an operation can reach
#define FROM (MIDDLE - NEAR)

static void randomise(struct native *n, bool counts_bits, bool is_string) {
    uint64_t operand = random_operand();

    *n = (struct native){random_operand(), random_operand(), random_operand(), 0, 0, 0, 0};
    n->flags = 2 | (random64() & FLAGS_RESULT);
    if (counts_bits) { // stay near
        n->rax = random64() % 2048 - 1024;
        n->rcx = random64() % 2048 - 1024;
        n->rdx = random64() % 2048 - 1024;
    }
    if (is_string) {
        n->rcx = random64() % 20;
        n->flags |= random64() & FLAG_DF;
    }
    fill(guest.device + FROM, 2 * NEAR, is_string);
    fill(guest.ram + DATA + FROM, 2 * NEAR, is_string);
    if (random64() & 1)
        memcpy(guest.device + MIDDLE, &operand, sizeof operand);
    if (random64() & 1) // so that CMPXCHG and SCAS find equals
        memcpy(guest.device + MIDDLE, &n->rax, sizeof n->rax);
    if (random64() & 1)
        memcpy(guest.device + MIDDLE + (random64() & 1 ? 4 : 8), &n->rdx, sizeof n->rdx);
}

// False: the processor would answer with an exception, or leave the result undefined; so it was not
// asked.
static bool compare_with_processor(unsigned which, struct code_buffer *c, uint8_t *page) {
    static _Alignas(64) uint8_t device[DEVICE_SIZE], data[DEVICE_SIZE];
    struct native n, before;
    void (*code)(void);
    uint64_t flags, memory;
    bool is_pair = emitters[which] == emit_pair;

    restart(c);
    randomise(&n, emitters[which] == emit_bits, emitters[which] == emit_string);
    memcpy(device + FROM, guest.device + FROM, 2 * NEAR);
    memcpy(data + FROM, guest.ram + DATA + FROM, 2 * NEAR);
    memory = device_get(MIDDLE);
    cr_assert_eq(decode_insn(guest.ram + CODE, c->count, DECODE_64BIT, &guest.insn), DECODE_OK,
                 "%02x %02x %02x", c->bytes[0], c->bytes[1], c->bytes[2]);
    uint64_t count = guest.insn.third == INSN_THIRD_CL ? n.rcx : guest.insn.imm;
    flags = defined_flags(&guest.insn, count) | FLAG_DF;
    if (!is_result_defined(&guest.insn, count, memory))
        return false;
    if ((guest.insn.op == INSN_DIV || guest.insn.op == INSN_IDIV) &&
        !is_division_possible(&guest.insn, &n, memory))
        return false;
    guest.gpr[INSN_RAX] = n.rax;
    guest.gpr[INSN_RCX] = n.rcx;
    guest.gpr[INSN_RDX] = n.rdx;
    guest.gpr[INSN_RBX] = guest.gpr[INSN_RDI] = DEVICE + MIDDLE;
    guest.gpr[INSN_RSI] = DATA + MIDDLE;
    guest.rflags = n.flags;
    n.rbx = n.rdi = (uint64_t)(uintptr_t)(device + MIDDLE);
    n.rsi = (uint64_t)(uintptr_t)(data + MIDDLE);
    if (is_pair)
        n.rbx = guest.gpr[INSN_RBX] = random64();
    before = n;

    memcpy(page, c->bytes, c->count);
    page[c->count] = 0xc3;
    memcpy(&code, &page, sizeof code);
    run_native(&n, code);
    cr_assert_eq(run(), EMULATE_DONE, "%02x %02x %02x", c->bytes[0], c->bytes[1], c->bytes[2]);

#define AGREE(ours, theirs)                                                                        \
    cr_assert_eq(ours, theirs,                                                                     \
                 #ours " %llx, processor %llx: %02x %02x %02x %02x %02x, flags %llx rax %llx rcx " \
                       "%llx rdx %llx memory %llx",                                                \
                 (unsigned long long)(ours), (unsigned long long)(theirs), c->bytes[0],            \
                 c->bytes[1], c->bytes[2], c->bytes[3], c->bytes[4],                               \
                 (unsigned long long)before.flags, (unsigned long long)before.rax,                 \
                 (unsigned long long)before.rcx, (unsigned long long)before.rdx,                   \
                 (unsigned long long)memory)
    AGREE(guest.rip, CODE + c->count);
    AGREE(guest.gpr[INSN_RAX], n.rax);
    AGREE(guest.gpr[INSN_RCX], n.rcx);
    AGREE(guest.gpr[INSN_RDX], n.rdx);
    AGREE(guest.gpr[INSN_RBX], is_pair ? n.rbx : DEVICE + MIDDLE);
    AGREE(guest.gpr[INSN_RDI] - DEVICE - MIDDLE, n.rdi - before.rdi);
    AGREE(guest.gpr[INSN_RSI] - DATA - MIDDLE, n.rsi - before.rsi);
    AGREE(guest.rflags & flags, n.flags & flags);
    AGREE(memcmp(guest.device + FROM, device + FROM, 2 * NEAR), 0);
    AGREE(memcmp(guest.ram + DATA + FROM, data + FROM, 2 * NEAR), 0);
    return true;
}

// Bit `bit` of EAX to EDX (0 to 3) of a CPUID leaf.
static bool has_feature(unsigned leaf, unsigned reg, unsigned bit) {
    unsigned r[4];

    return __get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> bit & 1;
}

#define OPERATIONS 1000000u

// A million operations, seeded, on a page of a device here and on memory there.
Test(emulate, agrees_with_the_processor) {
    uint8_t *page = code_page();
    unsigned compared = 0;

    START(DECODE_64BIT, 0);
    guest.ctx.has_tzcnt = __builtin_cpu_supports("bmi");
    guest.ctx.has_lzcnt = has_feature(0x80000001, 2, 5);
    while (compared < OPERATIONS) {
        for (unsigned which = 0; which < sizeof emitters / sizeof emitters[0]; which++) {
            struct code_buffer c = {{0}, 0};

            emitters[which](&c);
            if (emitters[which] == emit_carry && !has_feature(7, 1, 19))
                continue;
            if (emitters[which] == emit_extensions && !has_feature(1, 2, 22))
                continue;
            compared += compare_with_processor(which, &c, page);
        }
    }
    munmap(page, 4096);
}
