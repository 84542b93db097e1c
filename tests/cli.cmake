# The command-line tool. A script gets the tool's path; its exit code is the result.
npc_test(unit options npc_tool)
npc_test(unit cost npc_runtime)
npc_test(unit package npc_runtime)
npc_test(unit npc npc_tool)
file(GLOB CLI_SCRIPTS CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/test_*.sh)
foreach(script ${CLI_SCRIPTS})
    get_filename_component(name ${script} NAME_WE)
    string(REPLACE "test_" "" name ${name})
    add_test(NAME cli.${name} COMMAND bash ${script} $<TARGET_FILE:npc>
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(cli.${name} PROPERTIES LABELS cli)
endforeach()
