# Models and verbs that cannot get their memory: the tests refuse the N-th request, and count them.
npc_test(faults model_memory npc_runtime)
npc_test(faults data_memory npc_tool)
target_sources(test_data_memory PRIVATE ${CMAKE_SOURCE_DIR}/tool/verb_data.c)
foreach(name model_memory data_memory)
    target_link_options(test_${name} PRIVATE
        -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=mmap
        -Wl,--wrap=pthread_create)
endforeach()

# its malloc is that of the whole process, which sanitizers want to be theirs
if(NOT NPC_SANITIZE)
    npc_test(faults llvm_memory npc_codegen npc_passes npc_random_graph)
endif()
