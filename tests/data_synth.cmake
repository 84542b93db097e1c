# Random numbers, scores, film hashes, synthetic recordings.
foreach(name philox random_fill metrics video_hash ridge synth)
    npc_test(unit ${name} npc_runtime)
endforeach()
# lets the test refuse the N-th request for memory
target_link_options(test_synth PRIVATE
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc)
