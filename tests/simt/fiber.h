// Fibers: stacks that one operating system thread switches between, one for each thread of a block.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__) || defined(VINR_SIMT_UCONTEXT)
#include <ucontext.h>
#endif

namespace simt {

#if defined(__x86_64__) && !defined(VINR_SIMT_UCONTEXT)

// Saves the registers that a call must keep, and the stack, to *from; takes them from `to`. (ucontext asks the kernel
// for its signal mask at each switch, which is 30 times slower.)
extern "C" void vinr_simt_switch(void** from, void* to);
asm(R"(
    .text
    .type vinr_simt_switch, @function
vinr_simt_switch:
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
    .size vinr_simt_switch, . - vinr_simt_switch
)");

using Context = void*;
inline void switch_context(Context& from, Context& to) { vinr_simt_switch(&from, to); }
inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
    // What the switch pops: six registers, then the address it returns to; a function expects 8 bytes past alignment.
    auto* top = reinterpret_cast<uintptr_t*>(stack + size) - 2;
    *top = reinterpret_cast<uintptr_t>(entry);
    for (int i = 1; i <= 6; ++i) top[-i] = 0;
    context = top - 6;
}

#else

using Context = ucontext_t;
inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }
inline void make_context(Context& context, char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

#endif

// Memory for the stack of one fiber; below it lies a page that faults, so that an overflow cannot pass unseen.
class Stack {
 public:
    static constexpr size_t kBytes = 256 << 10;

    Stack() : page_(size_t(sysconf(_SC_PAGESIZE))) {
        void* memory =
            mmap(nullptr, page_ + kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        memory_ = static_cast<char*>(memory);
        mprotect(memory_, page_, PROT_NONE);
    }
    ~Stack() {
        if (memory_) munmap(memory_, page_ + kBytes);
    }
    Stack(Stack&& other) noexcept : page_(other.page_), memory_(other.memory_) { other.memory_ = nullptr; }
    Stack(const Stack&) = delete;

    char* begin() const { return memory_ + page_; }

 private:
    size_t page_;
    char* memory_ = nullptr;
};

}  // namespace simt
