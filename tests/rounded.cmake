# Reference numbers in 16 bits, on the simulated device: how far the worst gradient may be off, by model,
# precision and level of fusion. Bounds are what was seen and a quarter more, as another library of
# mathematical functions turns roundings over; bench/results/2026-11-27-rounding.md has the figures and says
# why they are no smaller.
function(npc_rounded label model precision fuse gradients)
    list(TRANSFORM ARGN PREPEND tests/goldens/)
    list(TRANSFORM ARGN APPEND .safetensors)
    set(when "")
    set(outputs "")
    if(label STREQUAL long)
        set(when CONFIGURATIONS long)
    endif()
    if(model STREQUAL dwiseneuro AND precision STREQUAL bf16 AND NOT fuse STREQUAL full)
        set(outputs --outputs 1.9e-2) # values between its blocks, behind dozens of stored operations: 1.5e-2
    endif()
    set(name sim.rounded_${label}_${model}_${precision}_${fuse})
    add_test(NAME ${name}
             COMMAND npc verify models/${model}.nm ${ARGN} --device cuda --precision ${precision}
                     --fuse ${fuse} --gradients ${gradients} ${outputs}
             ${when} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS sim TIMEOUT 1800
        ENVIRONMENT "NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
endfunction()

# For every change: what 1e-2 and positions in 16 bits miss.
npc_rounded(short dwiseneuro f16 elementwise 1.3e-2 dwiseneuro/tiny)
npc_rounded(short dynamic_v1fm bf16 full 5e-2 dynamic_v1fm/plain_one_window)

# All cases of a model at the levels none, elementwise, full.
function(npc_rounded_levels model precision none elementwise full)
    foreach(fuse none elementwise full)
        npc_rounded(long ${model} ${precision} ${fuse} ${${fuse}} ${ARGN})
    endforeach()
endfunction()
set(CASES dwiseneuro/tiny dwiseneuro/odd_sizes dwiseneuro/distilled)
npc_rounded_levels(dwiseneuro bf16 7.3e-2 1.2e-1 1.0e-1 ${CASES})
npc_rounded_levels(dwiseneuro f16 1.2e-2 1.3e-2 6.4e-3 ${CASES})
set(CASES viv1t/competition viv1t/sequential_state_mlp viv1t/closed_loop viv1t/no_state_conv
    viv1t/free_centres)
npc_rounded_levels(viv1t bf16 3.3e-1 2.7e-1 1.2e-1 ${CASES})
npc_rounded_levels(viv1t f16 1.4e-2 1.8e-2 2.3e-2 ${CASES})
set(CASES v1t/sensorium v1t/allen v1t/local_shift)
npc_rounded_levels(v1t bf16 3.6e-2 2.6e-2 4.4e-2 ${CASES})
npc_rounded_levels(v1t f16 3.7e-3 4.0e-3 2.2e-3 ${CASES})
set(CASES dynamic_v1fm/plain_one_window dynamic_v1fm/mean_all_levels
    dynamic_v1fm/adaptive_other_options dynamic_v1fm/adaptive_published_geometry)
npc_rounded_levels(dynamic_v1fm bf16 7.6e-2 7.6e-2 6.4e-2 ${CASES})
npc_rounded_levels(dynamic_v1fm f16 6.7e-3 6.7e-3 5.2e-3 ${CASES})
set(CASES baselines/factorised_small baselines/factorised_two_sessions)
npc_rounded_levels(factorised bf16 3.1e-2 3.1e-2 1.3e-2 ${CASES})
npc_rounded_levels(factorised f16 7.4e-3 7.4e-3 3.5e-3 ${CASES})
set(CASES baselines/gru_small baselines/gru_two_sessions)
npc_rounded_levels(gru bf16 5.1e-2 3.4e-2 2.9e-2 ${CASES})
npc_rounded_levels(gru f16 3.2e-3 4.1e-3 3.4e-3 ${CASES})
