// EDT_VECTOR_CLONES compiles a function once per CPU generation and picks one when the program
// starts. Results do not differ: nothing is contracted or reassociated. Sanitizer builds get
// the plain version, because the choice runs before their runtime is up.
#ifndef EDT_AUGMENT_VECTOR_H
#define EDT_AUGMENT_VECTOR_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) ||                     \
    __has_feature(memory_sanitizer)
#define EDT_VECTOR_SANITIZED 1
#endif
#endif

#if defined(__x86_64__) && defined(__has_attribute) && !defined(__SANITIZE_THREAD__) &&        \
    !defined(__SANITIZE_ADDRESS__) && !defined(EDT_VECTOR_SANITIZED)
#if __has_attribute(target_clones)
#define EDT_VECTOR_CLONES __attribute__((target_clones("avx2", "sse4.2", "default")))
#endif
#endif
#ifndef EDT_VECTOR_CLONES
#define EDT_VECTOR_CLONES
#endif

#endif
