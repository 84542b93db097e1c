# CUDA code and the CUDA device, on the simulator.
npc_sim_test(unit cuda_compile npc_codegen)
npc_test(unit cuda_processes npc_codegen)
npc_sim_test(faults device npc_runtime)
npc_sim_test(models feed npc_runtime)
# lets the test do without
target_link_options(test_feed PRIVATE -Wl,--wrap=feed_ahead,--wrap=engine_send,--wrap=engine_add_planes)
add_test(NAME faults.run_device COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/faults/run_device.sh
                                        $<TARGET_FILE:npc> ${CMAKE_BINARY_DIR}/sim)
set_tests_properties(faults.run_device PROPERTIES LABELS faults TIMEOUT 1200)

# the engine's tests on the simulated device
foreach(name engine engine_inputs)
    add_test(NAME sim.${name} COMMAND test_${name} cuda WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(sim.${name} PROPERTIES LABELS sim
        ENVIRONMENT "NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
    add_dependencies(test_${name} ${NPC_SIM_LIBRARIES})
endforeach()

add_test(NAME sim.package COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sim/run_package.sh
                                  $<TARGET_FILE:npc> ${CMAKE_BINARY_DIR}/sim)
set_tests_properties(sim.package PROPERTIES LABELS sim TIMEOUT 1200)

add_test(NAME sim.library COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/sim/run_library.sh
                                  $<TARGET_FILE:npc> ${CMAKE_BINARY_DIR}/sim)
set_tests_properties(sim.library PROPERTIES LABELS sim TIMEOUT 1200)

# The real NVRTC, where there is one.
npc_test(models nvrtc npc_runtime npc_random_graph)
set_tests_properties(models.nvrtc PROPERTIES TIMEOUT 1200)

# The published model's numbers through the whole runtime, on the simulated device.
function(npc_sim_verify case precision fuse)
    set(name sim.verify_${case}_${precision}_${fuse})
    add_test(NAME ${name}
             COMMAND npc verify models/dwiseneuro.nm tests/goldens/dwiseneuro/${case}.safetensors
                     --device cuda --precision ${precision} --fuse ${fuse}
             ${NPC_VERIFY_WHEN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS sim TIMEOUT 1200
        ENVIRONMENT "NPC_CUDA_LIBRARIES=${CMAKE_BINARY_DIR}/sim")
endfunction()
foreach(fuse none elementwise full)
    npc_sim_verify(tiny f32 ${fuse})
endforeach()
foreach(precision tf32 bf16 f16)
    npc_sim_verify(tiny ${precision} full)
endforeach()
npc_sim_verify(odd_sizes f32 full)
npc_sim_verify(odd_sizes bf16 full)
npc_sim_verify(distilled f32 full)
set(NPC_VERIFY_WHEN CONFIGURATIONS long) # minutes
npc_sim_verify(frames64 f32 full)
unset(NPC_VERIFY_WHEN)
npc_sim_verify(ops f32 full)
