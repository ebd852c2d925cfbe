// SPDX-License-Identifier: Apache-2.0
//
// The emulator. First against the processor this test runs on: the same bytes are executed natively
// on a buffer and emulated on a device of the same content, and registers, flags and memory must
// agree. Then what a process cannot execute: faults, page crossings, other modes, restarts.

#include <cpuid.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/emulate/alu.h"
#include "vmm/emulate/emulate.h"

#define RAM_SIZE    0x8000u
#define CODE        0x1000u
#define DATA        0x4000u
#define STACK       0x6000u
#define DEVICE      UINT64_C(0xfee00000)
#define DEVICE_SIZE 2048u
#define MIDDLE      1024u

#define FLAGS_RESULT 0x8d5u // CF PF AF ZF SF OF
#define FLAG_CF      0x001u
#define FLAG_PF      0x004u
#define FLAG_ZF      0x040u
#define FLAG_DF      0x400u
#define FLAG_RF      0x10000u
#define FLAG_AC      0x40000u

#define CR0_PG_WP (UINT64_C(1) << 31 | UINT64_C(1) << 16)
#define CR0_PE    UINT64_C(1)
#define CR0_AM    (UINT64_C(1) << 18)
#define CR4_PAE   (UINT64_C(1) << 5)
#define EFER_LMA  (UINT64_C(1) << 10)

struct guest {
    _Alignas(4096) uint8_t ram[RAM_SIZE];
    uint8_t device[DEVICE_SIZE];
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags;
    struct vcpu_segment segment[6];
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    struct insn insn;
    unsigned read_count;
    unsigned write_count;
    struct {
        uint64_t gpa;
        unsigned size;
    } last;
};

static struct guest guest;

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    struct guest *g = opaque;

    (void)is_write;
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? g->ram + gpa : NULL;
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size) {
    struct guest *g = opaque;
    uint64_t value = UINT64_C(0xa5a5a5a5a5a5a5a5); // rubbish above the size

    cr_assert(gpa >= DEVICE && gpa - DEVICE + size <= DEVICE_SIZE, "%llx", (unsigned long long)gpa);
    cr_assert(size == 1 || size == 2 || size == 4 || size == 8);
    memcpy(&value, g->device + (gpa - DEVICE), size);
    g->read_count++;
    g->last.gpa = gpa;
    g->last.size = size;
    return value;
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value) {
    struct guest *g = opaque;

    cr_assert(gpa >= DEVICE && gpa - DEVICE + size <= DEVICE_SIZE, "%llx", (unsigned long long)gpa);
    cr_assert(size == 1 || size == 2 || size == 4 || size == 8);
    cr_assert(size == 8 || value >> size * 8 == 0);
    memcpy(g->device + (gpa - DEVICE), &value, size);
    g->write_count++;
    g->last.gpa = gpa;
    g->last.size = size;
}

// A guest without paging (which 64-bit code cannot have, but the emulator need not know).
static void start(enum decode_mode mode, const uint8_t *code, size_t count) {
    memset(&guest, 0, sizeof guest);
    memcpy(guest.ram + CODE, code, count);
    guest.rip = CODE;
    guest.rflags = 2;
    guest.gpr[INSN_RSP] = STACK;
    for (unsigned k = 0; k < 6; k++)
        guest.segment[k] = (struct vcpu_segment){.limit = UINT32_MAX, .attributes = 0xc093};
    guest.segment[INSN_CS].attributes = 0xc09b;
    guest.walk = (struct walk_ctx){
        .efer = mode == DECODE_64BIT ? EFER_LMA : 0,
        .physical_bits = 40,
        .guest_ptr = guest_ptr,
        .opaque = &guest,
    };
    guest.ctx = (struct emulate_ctx){
        .gpr = guest.gpr,
        .rip = &guest.rip,
        .rflags = &guest.rflags,
        .segment = guest.segment,
        .mode = mode,
        .walk = &guest.walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .opaque = &guest,
    };
}

#define START(MODE, ...)                                                                           \
    start(MODE, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static enum emulate_result run(void) {
    return emulate_exit(&guest.ctx, &guest.insn);
}

static void device_set(unsigned at, uint64_t value) {
    memcpy(guest.device + at, &value, sizeof value);
}

static uint64_t device_get(unsigned at) {
    uint64_t value;

    memcpy(&value, guest.device + at, sizeof value);
    return value;
}

// Four levels of tables at 0 to 0x3fff below the code: linear = physical for all RAM, DEVICE at
// 0x400000; page 5 of RAM is read-only, page 7 not present.
static void enable_paging(void) {
    static uint64_t tables[4][512];
    static const unsigned rights = 0x3;

    memset(tables, 0, sizeof tables);
    tables[0][0] = 0x7000 | rights;
    tables[1][0] = 0x2000 | rights;
    tables[2][0] = 0x3000 | rights;
    tables[2][2] = DEVICE | rights | 0x80;
    for (unsigned k = 0; k < 7; k++)
        tables[3][k] = k << 12 | (k == 5 ? 1 : rights);
    memcpy(guest.ram, tables[0], 4096);
    memcpy(guest.ram + 0x7000, tables[1], 4096);
    memcpy(guest.ram + 0x2000, tables[2], 4096);
    memcpy(guest.ram + 0x3000, tables[3], 4096);
    guest.walk.cr0 = CR0_PG_WP;
    guest.walk.cr4 = CR4_PAE;
    guest.walk.cr3 = 0;
}

#define DEVICE_LINEAR UINT64_C(0x400000)

// What lies from 4 GiB on, and in the last page below: DATA, which begins with `opcode` [eax], ecx.
static void tables_above_4g(uint8_t opcode) {
    static const struct {
        unsigned at, value;
    } entries[] = {
        {0x7000 + 8 * 3, 0x5003},     {0x7000 + 8 * 4, 0x5003}, {0x5000, 0x6003},
        {0x5000 + 8 * 511, 0x6003},   {0x6000, DATA | 3},       {0x6008, DATA | 3},
        {0x6000 + 8 * 511, DATA | 3},
    };

    for (unsigned k = 0; k < sizeof entries / sizeof entries[0]; k++)
        memcpy(guest.ram + entries[k].at, &(uint64_t){entries[k].value}, 8);
    guest.ram[DATA] = opcode;
    guest.ram[DATA + 1] = 0x08;
}

static void expect_fault(uint8_t vector, bool has_error_code, uint32_t error_code, uint64_t cr2) {
    cr_assert_eq(run(), EMULATE_FAULT);
    cr_assert_eq(guest.ctx.fault.vector, vector, "%u", guest.ctx.fault.vector);
    cr_assert_eq(guest.ctx.fault.has_error_code, has_error_code);
    cr_assert_eq(guest.ctx.fault.error_code, error_code, "%x", guest.ctx.fault.error_code);
    cr_assert_eq(guest.ctx.fault.cr2, cr2, "%llx", (unsigned long long)guest.ctx.fault.cr2);
    cr_assert_eq(guest.rip, CODE);
}

// ---- against the processor ----------------------------------------------------------------------

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

static uint64_t random_state = 88172645463325252u;

static uint64_t random64(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// Values near the edges make carries and overflows more often than even ones.
static uint64_t random_operand(void) {
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     UINT64_C(0x7fffffffffffffff),
                                     UINT64_C(1) << 63,
                                     UINT64_MAX};
    uint64_t r = random64();

    return r & 1 ? random64() : edges[(r >> 8) % (sizeof edges / sizeof edges[0])];
}

struct code_buffer {
    uint8_t bytes[16];
    unsigned count;
};

static void emit(struct code_buffer *c, unsigned byte) {
    c->bytes[c->count++] = (uint8_t)byte;
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

static void fill(uint8_t *bytes, unsigned count, bool is_string) {
    for (unsigned k = 0; k < count; k += 8) {
        uint64_t value = random64() & (is_string ? UINT64_C(0x0101010101010101) : UINT64_MAX);
        memcpy(bytes + k, &value, 8);
    }
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

// As `start`, but the guest was started with other code before.
static void restart(const struct code_buffer *c) {
    memcpy(guest.ram + CODE, c->bytes, c->count);
    guest.rip = CODE;
    guest.gpr[INSN_RSP] = STACK;
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

static uint8_t *code_page(void) {
    uint8_t *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        cr_skip_test("no executable memory to be had here");
    return page;
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

// ---- vector registers ---------------------------------------------------------------------------

#define XSAVE_AREA 1024u // x87, SSE, AVX
#define XSAVE_MASK 7u
#define XMM_AT     160u
#define YMM_AT     576u

struct vector_state {
    _Alignas(64) uint8_t area[4096];
};

static struct vector_state vectors;
static unsigned vector_writes;

static bool vectors_read(void *opaque, struct emulate_vectors *out) {
    (void)opaque;
    *out = (struct emulate_vectors){vectors.area, XSAVE_MASK};
    return true;
}

static void vectors_write(void *opaque, const struct emulate_vectors *in) {
    (void)opaque;
    cr_assert_eq(in->area, vectors.area);
    vector_writes++;
}

// Runs `code` with RDI = `address` and the registers of `state`, which it leaves there.
static void run_vector_native(struct vector_state *state, void (*code)(void), void *address) {
    static struct vector_state own;

    __asm__ volatile("sub $128, %%rsp\n\t"
                     "xsave64 (%[own])\n\t"
                     "xrstor64 (%[state])\n\t"
                     "call *%[code]\n\t"
                     "xsave64 (%[state])\n\t"
                     "xrstor64 (%[own])\n\t"
                     "add $128, %%rsp"
                     :
                     : [own] "r"(&own), [state] "r"(state), [code] "r"(code), "D"(address),
                       "a"(XSAVE_MASK), "d"(0)
                     : "memory", "cc");
}

static const struct {
    uint8_t prefix; // 0: none
    uint8_t opcode;
    bool is_0f38, has_vex, has_256, is_load, by_w;
} moves[] = {
    {0, 0x10, false, true, true, true, false},      {0x66, 0x10, false, true, true, true, false},
    {0xf3, 0x10, false, true, false, true, false},  {0xf2, 0x10, false, true, false, true, false},
    {0, 0x11, false, true, true, false, false},     {0x66, 0x11, false, true, true, false, false},
    {0xf3, 0x11, false, true, false, false, false}, {0xf2, 0x11, false, true, false, false, false},
    {0, 0x12, false, true, false, true, false},     {0x66, 0x13, false, true, false, false, false},
    {0, 0x16, false, true, false, true, false},     {0x66, 0x17, false, true, false, false, false},
    {0, 0x28, false, true, true, true, false},      {0x66, 0x29, false, true, true, false, false},
    {0, 0x2b, false, true, true, false, false},     {0, 0x6e, false, false, false, true, true},
    {0x66, 0x6e, false, true, false, true, true},   {0, 0x7e, false, false, false, false, true},
    {0x66, 0x7e, false, true, false, false, true},  {0xf3, 0x7e, false, true, false, true, false},
    {0, 0x6f, false, false, false, true, false},    {0x66, 0x6f, false, true, true, true, false},
    {0xf3, 0x6f, false, true, true, true, false},   {0, 0x7f, false, false, false, false, false},
    {0x66, 0x7f, false, true, true, false, false},  {0xf3, 0x7f, false, true, true, false, false},
    {0x66, 0xd6, false, true, false, false, false}, {0, 0xe7, false, false, false, false, false},
    {0x66, 0xe7, false, true, true, false, false},  {0xf2, 0xf0, false, true, true, true, false},
    {0x66, 0x2a, true, true, false, true, false},
};

static void emit_legacy_move(struct code_buffer *c, unsigned which, unsigned reg) {
    unsigned rex = (moves[which].by_w && random64() & 1 ? 0x48 : 0) | (reg > 7 ? 0x44 : 0);

    if (moves[which].prefix)
        emit(c, moves[which].prefix);
    if (rex)
        emit(c, rex);
    emit(c, 0x0f);
    if (moves[which].is_0f38)
        emit(c, 0x38);
}

static void emit_vex_move(struct code_buffer *c, unsigned which, unsigned reg) {
    static const uint8_t pp[256] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};
    bool merges = (moves[which].opcode == 0x12 || moves[which].opcode == 0x16);
    unsigned source = merges ? (unsigned)(random64() % 16) : 0;
    unsigned last = (~source & 0xf) << 3 | pp[moves[which].prefix] |
                    (moves[which].has_256 && random64() & 1 ? 4u : 0);

    if (!moves[which].is_0f38 && !moves[which].by_w && random64() & 1) {
        emit(c, 0xc5);
        emit(c, last | (reg > 7 ? 0 : 0x80));
        return;
    }
    emit(c, 0xc4);
    emit(c, (reg > 7 ? 0x60 : 0xe0) | (moves[which].is_0f38 ? 2 : 1));
    emit(c, last | (moves[which].by_w && random64() & 1 ? 0x80u : 0));
}

static void compare_move(unsigned which, uint8_t *page) {
    static _Alignas(64) uint8_t memory[128];
    static struct vector_state native;
    struct code_buffer c = {{0}, 0};
    bool is_mmx = !moves[which].has_vex;
    unsigned reg = (unsigned)(random64() % (is_mmx ? 8 : 16));
    void (*code)(void);

    if (moves[which].has_vex && random64() & 1 && __builtin_cpu_supports("avx"))
        emit_vex_move(&c, which, reg);
    else
        emit_legacy_move(&c, which, reg);
    emit(&c, moves[which].opcode);
    emit(&c, (reg & 7) << 3 | 7);
    fill(vectors.area + XMM_AT, 256, false);
    fill(vectors.area + YMM_AT, 256, false);
    for (unsigned k = 0; k < 8; k++) {
        uint64_t value = random64();
        memcpy(vectors.area + 32 + 16 * k, &value, 8);
    }
    uint16_t top = (uint16_t)(random64() % 8 << 11);
    memcpy(vectors.area + 2, &top, 2);
    vectors.area[512] = (uint8_t)(random64() & XSAVE_MASK); // the others are in their initial state
    memcpy(native.area, vectors.area, XSAVE_AREA);
    fill(guest.device + MIDDLE, 64, false);
    memcpy(memory, guest.device + MIDDLE, 64);

    memcpy(page, c.bytes, c.count);
    page[c.count] = 0xc3;
    memcpy(&code, &page, sizeof code);
    run_vector_native(&native, code, memory);
    restart(&c);
    guest.gpr[INSN_RDI] = DEVICE + MIDDLE;
    cr_assert_eq(run(), EMULATE_DONE, "%02x %02x %02x %02x %02x", c.bytes[0], c.bytes[1],
                 c.bytes[2], c.bytes[3], c.bytes[4]);
    // Through the processor once, which makes of both areas what it sees in them.
    page[0] = 0xc3;
    run_vector_native(&native, code, memory);
    memcpy(&guest.ram[DATA], vectors.area, XSAVE_AREA);
    static struct vector_state ours;
    memcpy(ours.area, vectors.area, XSAVE_AREA);
    run_vector_native(&ours, code, memory);
    cr_assert_eq(memcmp(guest.device + MIDDLE, memory, 64), 0, "memory: %02x %02x %02x %02x %02x",
                 c.bytes[0], c.bytes[1], c.bytes[2], c.bytes[3], c.bytes[4]);
    for (unsigned k = 0; k < YMM_AT + 256; k++)
        cr_assert(ours.area[k] == native.area[k] || (k >= 6 && k < 24) || (k >= 464 && k < 576),
                  "byte %u of the area: ours %02x, processor %02x: %02x %02x %02x %02x %02x", k,
                  ours.area[k], native.area[k], c.bytes[0], c.bytes[1], c.bytes[2], c.bytes[3],
                  c.bytes[4]);
}

Test(emulate, vector_moves_agree_with_the_processor) {
    uint8_t *page = code_page();

    if (!__builtin_cpu_supports("avx"))
        cr_skip_test("this processor has no AVX");
    START(DECODE_64BIT, 0);
    guest.ctx.vectors_read = vectors_read;
    guest.ctx.vectors_write = vectors_write;
    guest.walk.cr0 = 1;
    guest.walk.cr4 = UINT64_C(1) << 9 | UINT64_C(1) << 18;
    vectors.area[0] = 0x7f;
    vectors.area[1] = 0x03;
    memcpy(vectors.area + 24, &(uint32_t){0x1f80}, 4);
    for (unsigned round = 0; round < 3000; round++)
        for (unsigned which = 0; which < sizeof moves / sizeof moves[0]; which++)
            compare_move(which, page);
    cr_assert_gt(vector_writes, 0);
    munmap(page, 4096);
}

// ---- what the exit told -------------------------------------------------------------------------

static void tell_exit(uint64_t gva, uint64_t gpa, uint8_t access) {
    guest.ctx.has_exit = true;
    guest.ctx.exit_access = access;
    guest.ctx.exit_gva = gva;
    guest.ctx.exit_gpa = gpa;
}

Test(emulate, exit_address_saves_the_walk) {
    START(DECODE_64BIT, 0x8b, 0x48, 0x10); // mov ecx, [rax+0x10]
    enable_paging();
    guest.gpr[INSN_RAX] = UINT64_C(0xffffc90000000000); // mapped nowhere in our tables
    guest.gpr[INSN_RCX] = UINT64_MAX;
    device_set(0x10, 0x12345678);
    tell_exit(UINT64_C(0xffffc90000000010), DEVICE + 0x10, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0x12345678);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
    cr_assert_eq(guest.read_count, 1);
    cr_assert_eq(guest.rip, CODE + 3);
}

// What a device does with it is the bus's matter; a page's end alone cuts it.
Test(emulate, misaligned_access_reaches_the_device_whole) {
    const bool is_told[] = {true, false};
    for (unsigned i = 0; i < 2; i++) {
        START(DECODE_64BIT, 0x89, 0x08); // mov [rax], ecx
        enable_paging();
        guest.gpr[INSN_RAX] = DEVICE_LINEAR + 0x11;
        guest.gpr[INSN_RCX] = 0x12345678;
        if (is_told[i])
            tell_exit(DEVICE_LINEAR + 0x11, DEVICE + 0x11, VCPU_ACCESS_WRITE);
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert(guest.write_count == 1 && guest.last.size == 4 &&
                  guest.last.gpa == DEVICE + 0x11);
        START(DECODE_64BIT, 0x8b, 0x08); // mov ecx, [rax]
        enable_paging();
        guest.gpr[INSN_RAX] = DEVICE_LINEAR + 0x13;
        if (is_told[i])
            tell_exit(DEVICE_LINEAR + 0x13, DEVICE + 0x13, VCPU_ACCESS_READ);
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert(guest.read_count == 1 && guest.last.size == 4 && guest.last.gpa == DEVICE + 0x13);
    }
}

Test(emulate, exit_address_of_another_access_is_not_used) {
    START(DECODE_64BIT, 0x8b, 0x48, 0x10);
    enable_paging();
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    tell_exit(DEVICE_LINEAR + 0x14, DEVICE + 0x14, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
    guest.rip = CODE;
    tell_exit(DEVICE_LINEAR + 0x3010, DEVICE + 0x3010, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
}

Test(emulate, operand_in_ram_is_the_processors) {
    START(DECODE_64BIT, 0xf0, 0x01, 0x08); // lock add [rax], ecx
    guest.gpr[INSN_RAX] = DATA;
    guest.gpr[INSN_RCX] = 5;
    cr_assert_eq(run(), EMULATE_AGAIN);
    cr_assert_eq(guest.rip, CODE);
    cr_assert_eq(guest.ram[DATA], 0);
}

// Another vCPU has rewritten the code since the processor checked its access.
static void become(uint8_t opcode, uint8_t access) {
    START(DECODE_64BIT, opcode, 0x08); // [rax], ecx
    enable_paging();
    memcpy(guest.ram + 0x3000 + 8 * 6, &(uint64_t){DEVICE | 1}, 8); // the page at 0x6000: read-only
    guest.gpr[INSN_RAX] = 0x6010;
    tell_exit(0x6010, DEVICE + 0x10, access);
}

Test(emulate, load_that_became_a_store_is_checked) {
    become(0x89, VCPU_ACCESS_READ);
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x6010);
    become(0x01, VCPU_ACCESS_READ); // ADD
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x6010);
    cr_assert_eq(guest.write_count, 0);
    become(0x89, VCPU_ACCESS_WRITE); // the processor allowed it: the tables changed later
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.write_count, 1);
}

Test(emulate, store_that_became_a_load_is_checked) {
    become(0x8b, VCPU_ACCESS_WRITE);
    cr_assert_eq(run(), EMULATE_DONE);
    become(0x8b, VCPU_ACCESS_WRITE);
    memset(guest.ram + 0x3000 + 8 * 6, 0, 8);
    expect_fault(EMULATE_PF, true, 0, 0x6010);
    cr_assert_eq(guest.read_count, 0);
}

// The exit was the processor's own reading of a descriptor, where a user may not go.
Test(emulate, user_code_is_always_checked) {
    become(0x8b, VCPU_ACCESS_READ);
    guest.walk.cpl = 3;
    memcpy(guest.ram + 0x7000, &(uint64_t){0x2007}, 8);
    memcpy(guest.ram, &(uint64_t){0x7007}, 8);
    memcpy(guest.ram + 0x2000, &(uint64_t){0x3007}, 8);
    memcpy(guest.ram + 0x3000 + 8 * (CODE >> 12), &(uint64_t){CODE | 5}, 8);
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_USER, 0x6010);
    cr_assert_eq(guest.read_count, 0);
}

// ---- segments -----------------------------------------------------------------------------------

static void expect_protection(uint8_t vector) {
    expect_fault(vector, true, 0, 0);
    cr_assert_eq(guest.read_count + guest.write_count, 0);
}

#define START_PROTECTED(...)                                                                       \
    START(DECODE_32BIT, __VA_ARGS__);                                                              \
    guest.walk.cr0 = 1;                                                                            \
    guest.gpr[INSN_RAX] = DEVICE

Test(emulate, segment_limits) {
    START_PROTECTED(0x8b, 0x08); // mov ecx, [eax]
    guest.segment[INSN_DS].limit = (uint32_t)DEVICE + 2;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].limit++;
    cr_assert_eq(run(), EMULATE_DONE);
    START_PROTECTED(0x36, 0x8b, 0x08); // ss:
    guest.segment[INSN_SS].limit = 0xffff;
    expect_protection(EMULATE_SS);
    guest.segment[INSN_SS] =
        (struct vcpu_segment){.limit = (uint32_t)DEVICE - 1, .attributes = 0x4097};
    cr_assert_eq(run(), EMULATE_DONE); // expands down
    guest.rip = CODE;
    guest.read_count = 0;
    guest.segment[INSN_SS].limit++;
    expect_protection(EMULATE_SS);
    guest.segment[INSN_SS] = (struct vcpu_segment){.limit = 0, .attributes = 0x97};
    expect_protection(EMULATE_SS);         // down from 64 KiB
    START(DECODE_16BIT, 0xa0, 0x10, 0x00); // mov al, [0x10] in real mode
    guest.segment[INSN_DS] =
        (struct vcpu_segment){.base = DEVICE, .limit = 0xf, .attributes = 0x93};
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].limit = 0x10;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, segment_types) {
    START_PROTECTED(0x89, 0x08);
    guest.segment[INSN_DS].attributes = 0xc091; // read-only
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc09b; // code
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc093 | VCPU_SEGMENT_UNUSABLE;
    expect_protection(EMULATE_GP);
    guest.ram[CODE] = 0x8b;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc099; // code that cannot be read
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc09b;
    cr_assert_eq(run(), EMULATE_DONE);
    START(DECODE_16BIT, 0x2e, 0xa2, 0x10, 0x00); // cs:, which real mode may write
    guest.segment[INSN_CS].base = DEVICE;
    guest.walk.cr0 = 0;
    cr_assert_eq(decode_insn(guest.ram + CODE, 4, DECODE_16BIT, &guest.insn), DECODE_OK);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
}

Test(emulate, segments_of_strings_and_the_stack) {
    START_PROTECTED(0xa5); // movsd
    guest.gpr[INSN_RSI] = DEVICE;
    guest.gpr[INSN_RDI] = DATA;
    guest.segment[INSN_ES].limit = DATA + 2;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_ES] = (struct vcpu_segment){.limit = UINT32_MAX, .attributes = 0xc091};
    expect_protection(EMULATE_GP);
    START_PROTECTED(0xff, 0x30); // push [eax]
    guest.segment[INSN_SS].limit = STACK - 5;
    expect_protection(EMULATE_SS);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK);
}

Test(emulate, code_beyond_its_segment) {
    START_PROTECTED(0x8b, 0x08);
    guest.segment[INSN_CS].limit = CODE;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_CS].limit = CODE + 1;
    cr_assert_eq(run(), EMULATE_DONE);
}

// ---- addresses ----------------------------------------------------------------------------------

// In compatibility mode, too, whose paging is that of long mode, linear addresses have 32 bits.
Test(emulate, code_wraps_at_4g) {
    START(DECODE_32BIT, 0x8b, 0x08);
    enable_paging();
    guest.walk.efer = EFER_LMA;
    tables_above_4g(0x89); // mov [eax], ecx, where the code would be without the cut
    guest.segment[INSN_CS].base = 0xfffff000;
    guest.rip = CODE + 0x1000;
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.write_count, 0);
    cr_assert_eq(guest.read_count, 1);
}

// The second half of an instruction at the end of the 4 GiB is at 0.
Test(emulate, code_across_4g) {
    struct walk_code code;

    START(DECODE_32BIT, 0);
    enable_paging();
    guest.walk.efer = EFER_LMA;
    tables_above_4g(0x89);
    memset(guest.ram + DATA, 0x5a, 4096);
    walk_fetch(&guest.walk, UINT64_C(0xfffffffc), false, &code);
    cr_assert_eq(code.count, WALK_CODE_BYTES);
    cr_assert_eq(memcmp(code.bytes, guest.ram + DATA + 0xffc, 4), 0);
    cr_assert_eq(memcmp(code.bytes + 4, guest.ram, 12), 0);
}

Test(emulate, rip_relative_counts_from_the_next_instruction) {
    START(DECODE_64BIT, 0x66, 0xc7, 0x05, 0, 0, 0, 0, 0x34, 0x12);
    guest.rip = DEVICE + 0x20 - 9;
    cr_assert_eq(decode_insn((const uint8_t[16]){0x66, 0xc7, 0x05, 0, 0, 0, 0, 0x34, 0x12}, 9,
                             DECODE_64BIT, &guest.insn),
                 DECODE_OK);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x20);
    cr_assert_eq(device_get(0x20), 0x1234);
}

Test(emulate, segments_and_sizes_of_addresses) {
    START(DECODE_64BIT, 0x64, 0x67, 0x8a, 0x04, 0x48); // mov al, fs:[eax+ecx*2]
    guest.segment[INSN_FS].base = DEVICE;
    guest.segment[INSN_DS].base = 0x1111; // means nothing in 64-bit code
    guest.gpr[INSN_RAX] = UINT64_C(0xaaaaaaaafffffff0);
    guest.gpr[INSN_RCX] = UINT64_C(0xbbbbbbbb00000010);
    guest.device[0x10] = 0x5a;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], UINT64_C(0xaaaaaaaaffffff5a));

    START(DECODE_16BIT, 0x26, 0xa2, 0x10, 0x00); // mov es:[0x10], al
    guest.segment[INSN_ES].base = DEVICE;
    guest.gpr[INSN_RAX] = 0x77;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.device[0x10], 0x77);

    START(DECODE_32BIT, 0x89, 0x00); // mov [eax], eax: linear addresses wrap at 4 GiB
    guest.segment[INSN_DS].base = 0xfffff000;
    guest.gpr[INSN_RAX] = (DEVICE & UINT32_MAX) + 0x1000;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE);
}

Test(emulate, code_segment_base) {
    START(DECODE_16BIT, 0);
    guest.ram[CODE + 0x30] = 0xa0; // mov al, [0x0010]
    guest.ram[CODE + 0x31] = 0x10;
    guest.segment[INSN_CS].base = CODE;
    guest.segment[INSN_DS].base = DEVICE;
    guest.rip = 0x30;
    guest.device[0x10] = 0x42;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], 0x42);
    cr_assert_eq(guest.rip, 0x33);
}

// One half is RAM, the other the device: 3 bytes are read as 1 and 2.
Test(emulate, access_across_pages_is_split) {
    START(DECODE_64BIT, 0x8b, 0x08); // mov ecx, [rax]
    enable_paging();
    guest.gpr[INSN_RAX] = DEVICE_LINEAR - 1;
    ((uint64_t *)(void *)(guest.ram + 0x2000))[1] = 0x6000 | 3; // a second page table, for 0x3ff000
    ((uint64_t *)(void *)(guest.ram + 0x6000))[511] = DATA | 3;
    guest.ram[DATA + 0xfff] = 0x11;
    device_set(0, 0x44332255);
    tell_exit(DEVICE_LINEAR - 1, DATA + 0xfff, VCPU_ACCESS_READ); // good for its first byte only
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0x33225511);
    cr_assert_eq(guest.read_count, 2);

    guest.ram[CODE] = 0x89; // and back
    guest.rip = CODE;
    guest.gpr[INSN_RCX] = 0xddccbbaa;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.ram[DATA + 0xfff], 0xaa);
    cr_assert_eq(device_get(0), 0x44ddccbb);
}

// ---- faults -------------------------------------------------------------------------------------

Test(emulate, movs_faults_before_the_device_is_read) {
    START(DECODE_64BIT, 0x48, 0xa5); // movsq
    enable_paging();
    guest.gpr[INSN_RSI] = DEVICE_LINEAR;
    guest.gpr[INSN_RDI] = 0x7008;
    expect_fault(EMULATE_PF, true, WALK_ERROR_WRITE, 0x7008);
    guest.gpr[INSN_RDI] = 0x5008;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5008);
    guest.gpr[INSN_RDI] = 0x4ffc; // the second half of the operand faults
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    cr_assert_eq(guest.read_count, 0);
    cr_assert_eq(guest.gpr[INSN_RSI], DEVICE_LINEAR);
    guest.gpr[INSN_RDI] = 0x4ff8;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, store_to_a_read_only_page) {
    START(DECODE_64BIT, 0x89, 0x08);
    enable_paging();
    guest.gpr[INSN_RAX] = 0x5000;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    guest.ram[CODE] = 0x8b;
    cr_assert_eq(run(), EMULATE_AGAIN); // it can be read
}

Test(emulate, noncanonical_addresses) {
    START(DECODE_64BIT, 0x8b, 0x08);
    enable_paging();
    guest.gpr[INSN_RAX] = UINT64_C(0x800000000000);
    expect_fault(EMULATE_GP, true, 0, 0);
    guest.gpr[INSN_RAX] = UINT64_C(0x7fffffffffff); // its last byte is
    expect_fault(EMULATE_GP, true, 0, 0);
    START(DECODE_64BIT, 0x8b, 0x4d, 0x00); // mov ecx, [rbp]
    enable_paging();
    guest.gpr[INSN_RBP] = UINT64_C(1) << 63;
    expect_fault(EMULATE_SS, true, 0, 0);
}

static void start_misaligned(bool is_user, bool has_am, bool has_ac) {
    START(DECODE_64BIT, 0xa5); // movsd
    guest.walk.cpl = is_user ? 3 : 0;
    guest.walk.cr0 = CR0_PE | (has_am ? CR0_AM : 0);
    guest.rflags |= has_ac ? FLAG_AC : 0;
    guest.gpr[INSN_RSI] = DATA + 2;
    guest.gpr[INSN_RDI] = DEVICE;
}

Test(emulate, alignment_check) {
    for (unsigned i = 0; i < 7; i++) {
        start_misaligned(i & 1, i & 2, i & 4);
        cr_assert_eq(run(), EMULATE_DONE, "case %u", i);
    }
    start_misaligned(true, true, true);
    expect_fault(EMULATE_AC, true, 0, 0);
    guest.gpr[INSN_RSI] = DATA + 4;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, undecodable_instructions) {
    START(DECODE_64BIT, 0xf0, 0x8b, 0x00);
    expect_fault(EMULATE_UD, false, 0, 0);
    START(DECODE_64BIT, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
          0x66, 0x66, 0x66, 0x8b, 0x00);
    expect_fault(EMULATE_GP, true, 0, 0);
    START(DECODE_64BIT, 0x0f, 0xae, 0x00); // FXSAVE
    cr_assert_eq(run(), EMULATE_UNHANDLED);
    cr_assert_eq(guest.insn.length, 0);
    START(DECODE_64BIT, 0x8b, 0x00);
    guest.rip = DEVICE; // code in a device
    cr_assert_eq(run(), EMULATE_UNHANDLED);
}

Test(emulate, code_that_ends_at_a_missing_page) {
    START(DECODE_64BIT, 0);
    enable_paging();
    memcpy(guest.ram + 0x6ffe, (const uint8_t[]){0x8b, 0x08}, 2);
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    guest.rip = 0x6ffe;
    cr_assert_eq(run(), EMULATE_DONE); // complete: what comes behind does not matter
    cr_assert_eq(guest.rip, 0x7000);
    guest.rip = 0x6fff;
    guest.ram[0x6fff] = 0x8b;
    cr_assert_eq(run(), EMULATE_FAULT);
    cr_assert_eq(guest.ctx.fault.vector, EMULATE_PF);
    cr_assert_eq(guest.ctx.fault.cr2, 0x7000);
}

// ---- instructions with a story ------------------------------------------------------------------

Test(emulate, rep_is_cut_and_goes_on) {
    START(DECODE_64BIT, 0xf3, 0xaa); // rep stosb
    guest.gpr[INSN_RCX] = EMULATE_STRING_ITERATIONS + 3;
    guest.gpr[INSN_RDI] = DEVICE;
    guest.gpr[INSN_RAX] = 0x99;
    guest.rflags |= FLAG_RF;
    cr_assert_eq(run(), EMULATE_AGAIN);
    cr_assert_eq(guest.gpr[INSN_RCX], 3);
    cr_assert_eq(guest.rip, CODE);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0);
    cr_assert_eq(guest.gpr[INSN_RDI], DEVICE + EMULATE_STRING_ITERATIONS + 3);
    cr_assert_eq(guest.write_count, EMULATE_STRING_ITERATIONS + 3);
    cr_assert_eq(guest.rip, CODE + 2);
    cr_assert_eq(guest.rflags & FLAG_RF, 0);
    guest.rip = CODE;
    cr_assert_eq(run(), EMULATE_DONE); // no iteration at all
    cr_assert_eq(guest.write_count, EMULATE_STRING_ITERATIONS + 3);
}

Test(emulate, rep_keeps_what_was_done_before_a_fault) {
    START(DECODE_64BIT, 0xf3, 0xa4); // rep movsb
    enable_paging();
    guest.gpr[INSN_RCX] = 10;
    guest.gpr[INSN_RSI] = DEVICE_LINEAR;
    guest.gpr[INSN_RDI] = 0x4ffd;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    cr_assert_eq(guest.gpr[INSN_RCX], 7);
    cr_assert_eq(guest.gpr[INSN_RDI], 0x5000);
    cr_assert_eq(guest.gpr[INSN_RSI], DEVICE_LINEAR + 3);
    cr_assert_eq(guest.read_count, 3);
}

Test(emulate, string_counters_have_the_address_size) {
    START(DECODE_64BIT, 0x67, 0xf3, 0xab); // rep stosd, ecx and edi
    guest.gpr[INSN_RCX] = UINT64_C(0x500000002);
    guest.gpr[INSN_RDI] = UINT64_C(0x700000000) | DEVICE;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0);
    cr_assert_eq(guest.gpr[INSN_RDI], DEVICE + 8);
    START(DECODE_16BIT, 0x26, 0xac); // lodsb es:[si]
    guest.segment[INSN_ES].base = DEVICE - 0xffff;
    guest.gpr[INSN_RSI] = 0xabcdffff;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSI], 0xabcd0000);
}

Test(emulate, push_and_pop) {
    uint64_t value;

    START(DECODE_64BIT, 0xff, 0x30); // push qword [rax]
    guest.gpr[INSN_RAX] = DEVICE + 8;
    device_set(8, UINT64_C(0x1122334455667788));
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK - 8);
    memcpy(&value, guest.ram + STACK - 8, sizeof value);
    cr_assert_eq(value, UINT64_C(0x1122334455667788));

    START(DECODE_64BIT, 0x8f, 0x04, 0x24); // pop qword [rsp]: the address after the increment
    guest.gpr[INSN_RSP] = RAM_SIZE - 8;
    guest.walk.cr0 = 0;
    memset(guest.ram + RAM_SIZE - 8, 0x5a, 8);
    guest.insn.length = 0;
    cr_assert_eq(decode_insn(guest.ram + CODE, 3, DECODE_64BIT, &guest.insn), DECODE_OK);
    guest.insn.disp = (int64_t)(DEVICE - RAM_SIZE);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
    cr_assert_eq(device_get(0), UINT64_C(0x5a5a5a5a5a5a5a5a));
    cr_assert_eq(guest.gpr[INSN_RSP], RAM_SIZE);
}

Test(emulate, pop_that_faults_restores_rsp) {
    START(DECODE_64BIT, 0x8f, 0x00);
    enable_paging();
    guest.gpr[INSN_RAX] = 0x7000;
    guest.gpr[INSN_RSP] = STACK;
    expect_fault(EMULATE_PF, true, WALK_ERROR_WRITE, 0x7000);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK);
}

Test(emulate, stack_size_is_the_segments) {
    START(DECODE_32BIT, 0xff, 0x30);
    guest.gpr[INSN_RAX] = DEVICE;
    guest.segment[INSN_SS].attributes = 0x93;
    guest.gpr[INSN_RSP] = 0x12340000u | STACK;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], 0x12340000u | (STACK - 4));
    guest.rip = CODE;
    guest.segment[INSN_SS].attributes = 0xc093;
    guest.gpr[INSN_RSP] = STACK;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK - 4);
}

Test(emulate, cmpxchg_that_fails_writes_back) {
    START(DECODE_64BIT, 0x0f, 0xb1, 0x0b); // cmpxchg [rbx], ecx
    guest.gpr[INSN_RBX] = DEVICE;
    guest.gpr[INSN_RAX] = UINT64_C(0xffffffff00000001);
    device_set(0, 2);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], 2);
    cr_assert_eq(guest.write_count, 1);
    cr_assert_eq(guest.rflags & FLAG_ZF, 0);
}

Test(emulate, reading_instructions_do_not_write) {
    static const uint8_t opcodes[] = {0x39, 0x3b, 0x85, 0x8b, 0x03};

    for (unsigned k = 0; k < sizeof opcodes; k++) {
        START(DECODE_64BIT, opcodes[k], 0x0b);
        guest.gpr[INSN_RBX] = DEVICE;
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert_eq(guest.read_count, 1);
        cr_assert_eq(guest.write_count, 0);
    }
    START(DECODE_64BIT, 0x89, 0x0b); // and a store does not read
    guest.gpr[INSN_RBX] = DEVICE;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.read_count, 0);
}
