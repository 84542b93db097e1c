# Models that cannot get their memory.
npc_test(faults model_memory npc_runtime)
if(TARGET test_model_memory) # lets the test refuse the N-th request, and count requests
    target_link_options(test_model_memory PRIVATE
        -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=mmap
        -Wl,--wrap=pthread_create)
endif()
