# The competition's baselines: their reference numbers on every way to run a model.
set(BASELINES factorised gru)
function(npc_verify_baseline model name label)
    set(cases small two_sessions)
    if(model STREQUAL gru AND name STREQUAL interpret)
        set(cases small) # the other takes minutes
    endif()
    foreach(case ${cases})
        list(APPEND files tests/goldens/baselines/${model}_${case}.safetensors)
    endforeach()
    add_test(NAME ${label}.verify_${model}_${name}
             COMMAND npc verify models/${model}.nm ${files} ${ARGN}
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${label}.verify_${model}_${name} PROPERTIES LABELS ${label} TIMEOUT 1200)
endfunction()
foreach(model ${BASELINES})
    foreach(how reference interpret "fuse none" "fuse elementwise" "fuse full" "cpu generic" "cpu avx2")
        string(REPLACE " " "_" name "${how}")
        string(REPLACE " " ";" arguments "--${how}")
        npc_verify_baseline(${model} ${name} models ${arguments})
    endforeach()
    foreach(fuse none elementwise full)
        npc_verify_baseline(${model} ${fuse} sim --device cuda --fuse ${fuse})
        set_tests_properties(sim.verify_${model}_${fuse} PROPERTIES
            ENVIRONMENT "NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
    endforeach()
endforeach()
