// CUDA on one host thread: every CUDA thread of a block is a fiber, and a barrier is a yield.
//
// Enough of CUDA C++ for the kernels of neuroscan_edge/preprocess/kernels, which are included
// unmodified. A block's threads run one after the other up to their next barrier, in an order that
// the caller chooses: what works only in one order lacks a barrier. Shared memory is poisoned before
// each block. Arithmetic is the host's: build with -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#if !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__)
#define FIBERS_BY_UCONTEXT 1
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
// All in one section, so that the whole of shared memory can be poisoned.
#define __shared__ static __attribute__((section("emulated_shared")))
#define __syncthreads() emulation::wait_for_block(__LINE__)

extern "C" char __start_emulated_shared[], __stop_emulated_shared[];

struct Dimensions {
    unsigned x = 1, y = 1, z = 1;
};
inline Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr unsigned WARP_LANES = 32;
// Not a power of two: then the tops of all stacks would share a few lines of the cache.
constexpr std::size_t STACK_BYTES = (1 << 14) + 192;
constexpr unsigned char POISON = 0xcd;
enum class State { ready, at_block_barrier, at_warp_barrier, done };
enum class Order { forward, reverse, shuffled };
// What launch() returns besides 0.
enum Failure { DIVERGENT_BARRIER = 1, UNKNOWN_KERNEL = 2 };

#ifdef FIBERS_BY_UCONTEXT
struct Fiber {
    ucontext_t context;
};
inline void switch_fibers(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
inline void prepare_fiber(Fiber& fiber, char* stack, void (*entry)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
}
#else
struct Fiber {
    void* stack_pointer;
};
// Saves what a called function must preserve, and goes on where the other fiber did so.
extern "C" void emulation_switch_stacks(void** from, void* to);
asm(R"(
    .text
    .type emulation_switch_stacks, @function
emulation_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulation_switch_stacks, .-emulation_switch_stacks
)");
inline void switch_fibers(Fiber& from, Fiber& to) {
    emulation_switch_stacks(&from.stack_pointer, to.stack_pointer);
}
inline void prepare_fiber(Fiber& fiber, char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES);
    *--top = nullptr;  // Where entry would return to; it never does.
    *--top = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    fiber.stack_pointer = top;
}
#endif

struct Thread {
    Fiber fiber;
    State state;
    int barrier_line;
    unsigned exchanges;
};

inline Fiber scheduler;
inline std::vector<Thread> threads;
inline std::vector<char> stacks;
inline std::vector<int> exchanged[2];
inline unsigned running;
inline void (*body)(void*);
inline void* body_arguments;

inline void yield_as(State state, int line) {
    Thread& self = threads[running];
    self.state = state;
    self.barrier_line = line;
    switch_fibers(self.fiber, scheduler);
}

inline void wait_for_block(int line) { yield_as(State::at_block_barrier, line); }
inline void wait_for_warp() { yield_as(State::at_warp_barrier, 0); }

inline void run_thread() {
    body(body_arguments);
    yield_as(State::done, 0);
}

inline void put_in_order(std::vector<unsigned>& indices, unsigned count, Order order,
                         std::mt19937& random) {
    indices.resize(count);
    std::iota(indices.begin(), indices.end(), 0u);
    if (order == Order::reverse) std::reverse(indices.begin(), indices.end());
    if (order == Order::shuffled) std::shuffle(indices.begin(), indices.end(), random);
}

// Let those go on for whom everyone has come; false if somebody waits in vain.
inline bool release(unsigned count) {
    unsigned waiting = 0, done = 0;
    bool anyone = false;
    for (const Thread& each : threads) {
        waiting += each.state == State::at_block_barrier;
        done += each.state == State::done;
    }
    if (done == count) return true;
    if (waiting == count) {
        for (Thread& each : threads) {
            if (each.barrier_line != threads[0].barrier_line) return false;
            each.state = State::ready;
        }
        return true;
    }
    for (unsigned first = 0; first < count; first += WARP_LANES) {
        const auto begin = threads.begin() + first;
        const auto end = threads.begin() + std::min(first + WARP_LANES, count);
        const auto there = [](const Thread& each) { return each.state == State::at_warp_barrier; };
        if (!std::all_of(begin, end, there)) continue;
        std::for_each(begin, end, [](Thread& each) { each.state = State::ready; });
        anyone = true;
    }
    return anyone;
}

// memset would be checked by AddressSanitizer, and stumble over its own marks between the arrays.
__attribute__((no_sanitize_address)) inline void poison_shared() {
    for (volatile char* at = __start_emulated_shared; at < __stop_emulated_shared; ++at) {
        *at = static_cast<char>(POISON);
    }
}

inline int run_block(unsigned count, Order order, std::mt19937& random) {
    poison_shared();
    for (unsigned index = 0; index < count; ++index) {
        threads[index].state = State::ready;
        threads[index].exchanges = 0;
        prepare_fiber(threads[index].fiber, stacks.data() + index * STACK_BYTES, run_thread);
    }
    std::vector<unsigned> turn;
    put_in_order(turn, count, order, random);
    unsigned done = 0;
    while (done < count) {
        // The order changes from barrier to barrier.
        if (order == Order::shuffled) put_in_order(turn, count, order, random);
        for (unsigned index : turn) {
            if (threads[index].state != State::ready) continue;
            running = index;
            threadIdx.x = index;
            switch_fibers(scheduler, threads[index].fiber);
            done += threads[index].state == State::done;
        }
        if (!release(count)) return DIVERGENT_BARRIER;
    }
    return 0;
}

inline int run_grid(Dimensions grid, unsigned count, Order order, unsigned seed) {
    std::mt19937 random(seed);
    gridDim = grid;
    blockDim.x = count;
    threads.resize(count);
    for (auto& places : exchanged) places.resize(count);
    stacks.resize(count * STACK_BYTES);
    std::vector<unsigned> blocks;
    put_in_order(blocks, grid.x * grid.y, order, random);
    for (unsigned block : blocks) {
        blockIdx.x = block % grid.x;
        blockIdx.y = block / grid.x;
        const int failure = run_block(count, order, random);
        if (failure) return failure;
    }
    return 0;
}

template <class... Arguments>
struct Call {
    void (*kernel)(Arguments...);
    void** arguments;

    template <std::size_t... I>
    void make(std::index_sequence<I...>) const {
        kernel(*static_cast<Arguments*>(arguments[I])...);
    }
    static void run(void* call) {
        static_cast<Call*>(call)->make(std::index_sequence_for<Arguments...>());
    }
};

// Call a kernel with arguments given as pointers to them, as cuLaunchKernel takes them.
template <class... Arguments>
int launch(void (*kernel)(Arguments...), Dimensions grid, unsigned count, Order order, unsigned seed,
           void** arguments) {
    Call<Arguments...> call{kernel, arguments};
    body = Call<Arguments...>::run;
    body_arguments = &call;
    return run_grid(grid, count, order, seed);
}

}  // namespace emulation

using std::max;
using std::min;

inline int __shfl_up_sync(unsigned, int value, unsigned distance) {
    const unsigned thread = emulation::running;
    // Two places in turn: one is written again only after a barrier that all pass having read it.
    auto& places = emulation::exchanged[emulation::threads[thread].exchanges++ % 2];
    places[thread] = value;
    emulation::wait_for_warp();
    const bool inside = thread % emulation::WARP_LANES >= distance;
    return inside ? places[thread - distance] : value;
}

inline int atomicAdd(int* at, int value) {
    const int before = *at;
    *at += value;
    return before;
}

inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __double2float_rn(double value) { return static_cast<float>(value); }
inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(std::lrintf(value)); }
inline int __double2int_rd(double value) { return static_cast<int>(std::floor(value)); }
