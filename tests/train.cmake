# Whole runs: training, resuming, prediction, scores; and what happens when the world fails.
npc_test(unit loss npc_runtime)
npc_test(unit optimizer npc_runtime)
npc_test(models train npc_runtime)
npc_test(models training npc_runtime)
npc_test(models inputs npc_runtime)
npc_test(models images npc_runtime)
npc_test(unit score npc_runtime)
add_test(NAME faults.run COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/faults/run_faults.sh $<TARGET_FILE:npc>)
set_tests_properties(faults.run PROPERTIES LABELS faults TIMEOUT 1200)
# lets the test count requests for memory
target_link_options(test_train PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
