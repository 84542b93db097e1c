# Passes, fusion and the memory plan over random programs: interpreted, then compiled
add_library(npc_plan_check STATIC ops/plan_check.c)
target_link_libraries(npc_plan_check PUBLIC npc_passes npc_random_graph)
npc_test(ops plans npc_plan_check)
npc_test(ops plans_compiled npc_plan_check npc_codegen)
# The long script on two seeds; 20,000 of them are run by hand
add_test(NAME fuzz.long
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/long.sh ${CMAKE_BINARY_DIR} 100000 2)
set_tests_properties(fuzz.long PROPERTIES LABELS fuzz)
