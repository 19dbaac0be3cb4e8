// Runs a grid: see device_emulator.h. A fiber takes the threads of a block one after another
// and keeps the one that stops at a barrier until it is released; kernels without barriers
// therefore run on one fiber as a plain loop. EDT_EMULATOR_ORDER=reverse starts threads and
// blocks from the last: results that then differ show a missing barrier or a dependence between
// blocks.
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include "tests/cuda_emulator/device_emulator.h"
#include "tests/cuda_emulator/emulator.h"

namespace edt_emulator
{

place now;

namespace
{

constexpr size_t stack_bytes = 256 * 1024;

#if defined(__x86_64__)
// Saves the callee-saved registers on the stack, changes stacks, restores.
extern "C" void edt_emulator_switch(void **save_to, void *to);
asm(".text\n"
    ".type edt_emulator_switch,@function\n"
    "edt_emulator_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size edt_emulator_switch,.-edt_emulator_switch\n");
#endif

enum class wait { nothing, warp, block };

struct fiber {
    char *stack = nullptr;
#if defined(__x86_64__)
    void *at = nullptr;
#else
    ucontext_t at;
#endif
    void *fake = nullptr; // of AddressSanitizer
    unsigned thread = 0;
    wait waits = wait::nothing;
};

struct warp {
    slot slots[2][32];
    unsigned epoch = 0, n_arrived = 0;
};

// The block that runs; one at a time in the process (the emulator's lock).
struct block_state {
    const char *kernel = "";
    const std::function<void()> *work = nullptr;
    unsigned n_threads = 0, n_started = 0, n_done = 0, n_at_barrier = 0;
    bool reverse = false, failed = false;
    const char *file = "";
    int line = 0;
    std::vector<std::unique_ptr<fiber>> fibers;
    std::vector<fiber *> idle;
    std::deque<fiber *> ready;
    std::vector<fiber *> stopped;
    std::vector<warp> warps;
    fiber *running = nullptr;
    fiber scheduler;
    const void *host_stack = nullptr; // of the thread that queued the grid
    size_t host_stack_bytes = 0;
};
block_state block;

void enter_thread(unsigned thread)
{
    const unsigned x = now.block_dim.x, y = now.block_dim.y;
    now.linear = thread;
    now.thread = {thread % x, thread / x % y, thread / x / y};
}

#if defined(__SANITIZE_ADDRESS__)
// The first thing on the stack that was changed to. Fibers are changed to from the host's stack
// only, which is how its place becomes known.
void finish_change(fiber *self)
{
    const void *from = nullptr;
    size_t n_bytes = 0;
    __sanitizer_finish_switch_fiber(self->fake, &from, &n_bytes);
    if (self != &block.scheduler) {
        block.host_stack = from;
        block.host_stack_bytes = n_bytes;
    }
}
#endif

void change(fiber *from, fiber *to)
{
#if defined(__SANITIZE_ADDRESS__)
    const bool back = to == &block.scheduler;
    __sanitizer_start_switch_fiber(&from->fake, back ? block.host_stack : to->stack,
                                   back ? block.host_stack_bytes : stack_bytes);
#endif
#if defined(__x86_64__)
    edt_emulator_switch(&from->at, to->at);
#else
    swapcontext(&from->at, &to->at);
#endif
#if defined(__SANITIZE_ADDRESS__)
    finish_change(from);
#endif
}

// Never returns: an idle fiber is taken up again here.
void fiber_main()
{
#if defined(__SANITIZE_ADDRESS__)
    finish_change(block.running);
#endif
    fiber *self = block.running;
    for (;;) {
        while (block.n_started < block.n_threads && !block.failed) {
            const unsigned next = block.n_started++;
            self->thread = block.reverse ? block.n_threads - 1 - next : next;
            enter_thread(self->thread);
            (*block.work)();
            ++block.n_done;
        }
        block.idle.push_back(self);
        change(self, &block.scheduler);
    }
}

fiber *fresh_fiber()
{
    auto made = std::make_unique<fiber>();
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *stack = mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        abort();
    }
    mprotect(stack, page, PROT_NONE);
    made->stack = static_cast<char *>(stack) + page;
#if defined(__x86_64__)
    // As edt_emulator_switch leaves it: six registers, then where to go on. The ABI wants
    // rsp + 8 to be a multiple of 16 at a function's first instruction.
    void **top = reinterpret_cast<void **>(made->stack + stack_bytes) - 2;
    *top = reinterpret_cast<void *>(&fiber_main);
    for (int i = 0; i < 6; ++i) {
        *--top = nullptr;
    }
    made->at = top;
#else
    getcontext(&made->at);
    made->at.uc_stack.ss_sp = made->stack;
    made->at.uc_stack.ss_size = stack_bytes;
    made->at.uc_link = nullptr;
    makecontext(&made->at, fiber_main, 0);
#endif
    block.fibers.push_back(std::move(made));
    return block.fibers.back().get();
}

// The running thread waits; others go on.
void stop(wait why)
{
    fiber *self = block.running;
    self->waits = why;
    block.stopped.push_back(self);
    change(self, &block.scheduler);
    enter_thread(self->thread);
}

// Makes ready those that stopped for `why`; of one warp, or of all (warp < 0). In thread order.
void release(wait why, int of_warp)
{
    size_t kept = 0;
    for (fiber *each : block.stopped) {
        if (each->waits == why && (of_warp < 0 || each->thread / 32 == (unsigned)of_warp)) {
            each->waits = wait::nothing;
            block.ready.push_back(each);
        } else {
            block.stopped[kept++] = each;
        }
    }
    block.stopped.resize(kept);
}

// The thread that found the misuse stops for good: its block is given up.
void give_up()
{
    block.failed = true;
    for (;;) {
        stop(wait::block);
    }
}

void run_block()
{
    block.n_started = block.n_done = block.n_at_barrier = 0;
    block.file = "";
    for (warp &each : block.warps) {
        each.epoch = each.n_arrived = 0;
    }
    while (block.n_done < block.n_threads && !block.failed) {
        if (!block.ready.empty()) {
            block.running = block.ready.front();
            block.ready.pop_front();
        } else if (block.n_started < block.n_threads) {
            if (block.idle.empty()) {
                block.running = fresh_fiber();
            } else {
                block.running = block.idle.back();
                block.idle.pop_back();
            }
        } else {
            fail(cudaErrorLaunchFailure,
                 "kernel %s, block %u,%u,%u: %u of %u threads have ended, the others wait for "
                 "them at %s:%d",
                 block.kernel, now.block.x, now.block.y, now.block.z, block.n_done,
                 block.n_threads, block.file, block.line);
            block.failed = true;
            break;
        }
        change(&block.scheduler, block.running);
    }
}

// Fibers that were given up hold frames that nothing will return to.
void drop_fibers()
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (auto &each : block.fibers) {
        munmap(each->stack - page, stack_bytes + page);
    }
    block.fibers.clear();
    block.idle.clear();
    block.ready.clear();
    block.stopped.clear();
}

} // namespace

void sync_block(const char *file, int line)
{
    if (block.n_at_barrier == 0) {
        block.file = file;
        block.line = line;
    } else if (block.line != line || strcmp(block.file, file) != 0) {
        fail(cudaErrorLaunchFailure,
             "kernel %s: thread %u reached the barrier at %s:%d while others wait at %s:%d",
             block.kernel, now.linear, file, line, block.file, block.line);
        give_up();
    }
    if (++block.n_at_barrier == block.n_threads) {
        block.n_at_barrier = 0;
        release(wait::block, -1);
        return;
    }
    stop(wait::block);
}

slot *warp_slots()
{
    warp &mine = block.warps[now.linear / 32];
    return mine.slots[mine.epoch % 2];
}

void sync_warp(unsigned mask, const char *file, int line)
{
    const unsigned index = now.linear / 32;
    warp &mine = block.warps[index];
    if (mask != 0xffffffffU || (index + 1) * 32 > block.n_threads) {
        fail(cudaErrorLaunchFailure,
             "kernel %s: %s:%d: lanes of a warp are left out (mask %#x, %u threads); shuffles "
             "take whole warps here",
             block.kernel, file, line, mask, block.n_threads);
        give_up();
    }
    if (++mine.n_arrived == 32) {
        mine.n_arrived = 0;
        ++mine.epoch;
        release(wait::warp, (int)index);
        return;
    }
    if (block.n_at_barrier == 0) {
        block.file = file;
        block.line = line;
    }
    stop(wait::warp);
}

void run_grid(const char *name, dim3 grid, dim3 block_dim, size_t shared_bytes,
              const std::function<void()> &work)
{
    const char *order = getenv("EDT_EMULATOR_ORDER");
    std::vector<unsigned char> shared(shared_bytes + 256);
    block.kernel = name;
    block.work = &work;
    block.n_threads = block_dim.x * block_dim.y * block_dim.z;
    block.reverse = order != nullptr && strcmp(order, "reverse") == 0;
    block.failed = false;
    block.warps.assign((block.n_threads + 31) / 32, warp());
    now.block_dim = block_dim;
    now.grid_dim = grid;
    now.shared = reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(shared.data()) + 127) /
                                          128 * 128);
    const uint64_t n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < n_blocks && !block.failed; ++i) {
        const uint64_t index = block.reverse ? n_blocks - 1 - i : i;
        now.block = {(unsigned)(index % grid.x), (unsigned)(index / grid.x % grid.y),
                     (unsigned)(index / grid.x / grid.y)};
        // Quiet NaNs for a kernel that reads what it did not write.
        memset(now.shared, 0xff, shared_bytes);
        run_block();
    }
    if (block.failed) {
        drop_fibers();
    }
}

} // namespace edt_emulator
