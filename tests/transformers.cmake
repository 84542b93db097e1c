# ViV1T, V1T and Dynamic-V1FM: their reference numbers on every way to run a model.
npc_test(unit attention npc_runtime)
npc_test(unit attention_report npc_runtime)
npc_test(models attention_run npc_runtime)
# free_centres and local_shift: what none of the published files has
set(VIV1T_CASES competition sequential_state_mlp closed_loop no_state_conv free_centres ops)
set(V1T_CASES sensorium allen local_shift)
# adaptive_published_geometry has windows of 392 tokens: only where these are fast
set(DYNAMIC_V1FM_CASES plain_one_window mean_all_levels adaptive_other_options)
function(npc_verify_transformer model name label)
    foreach(case ${ARGN})
        list(APPEND files tests/goldens/${model}/${case}.safetensors)
    endforeach()
    add_test(NAME ${label}.verify_${model}_${name}
             COMMAND npc verify models/${model}.nm ${files} ${NPC_VERIFY_HOW}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${label}.verify_${model}_${name} PROPERTIES LABELS ${label} TIMEOUT 1200)
endfunction()
foreach(how reference interpret "fuse none" "fuse elementwise" "fuse full" "cpu generic" "cpu avx2")
    string(REPLACE " " "_" name "${how}")
    string(REPLACE " " ";" NPC_VERIFY_HOW "--${how}")
    npc_verify_transformer(viv1t ${name} models ${VIV1T_CASES})
    npc_verify_transformer(v1t ${name} models ${V1T_CASES})
    npc_verify_transformer(dynamic_v1fm ${name} models ${DYNAMIC_V1FM_CASES})
endforeach()
foreach(fuse none elementwise full)
    set(NPC_VERIFY_HOW --device cuda --fuse ${fuse})
    npc_verify_transformer(viv1t ${fuse} sim ${VIV1T_CASES})
    npc_verify_transformer(v1t ${fuse} sim ${V1T_CASES})
    npc_verify_transformer(dynamic_v1fm ${fuse} sim ${DYNAMIC_V1FM_CASES})
    set_tests_properties(sim.verify_viv1t_${fuse} sim.verify_v1t_${fuse}
                         sim.verify_dynamic_v1fm_${fuse} PROPERTIES
        ENVIRONMENT "NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
endforeach()
