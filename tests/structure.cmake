# What must hold of the source tree itself, and checks that take a build of their own.
foreach(name include_direction file_length diagnostics_tested machine_paths)
    add_test(NAME structure.${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/structure/${name}.sh
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(structure.${name} PROPERTIES LABELS structure)
endforeach()

# Minutes each: only with `ctest -C full`, as scripts/test.sh --full calls it.
foreach(name format clang sanitize no-llvm generated)
    add_test(NAME build.${name} COMMAND ${CMAKE_SOURCE_DIR}/scripts/check.sh ${name}
             CONFIGURATIONS full WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(build.${name} PROPERTIES LABELS build SKIP_RETURN_CODE 77 RUN_SERIAL ON
                         TIMEOUT 1500)
endforeach()
