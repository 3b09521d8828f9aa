/* MIMIC-IV and eICU: the shipped mappings on invented rows with the columns of the releases' documentation. */
#include "table_help.h"

static void mimic_tables(void) {
  temp_text("hosp/patients.csv",
            "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n10,F,60,2180,2014 - 2016,2181-03-04\n11,M,30,2150,2011 - "
            "2013,\n12,F,91,2170,2011 - 2013,2170-05-06\n");
  temp_text(
      "hosp/admissions.csv",
      "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,discharge_location,insurance,"
      "language,marital_status,race,edregtime,edouttime,hospital_expire_flag\n"
      "10,100,2180-05-06 22:23:00,2180-05-09 17:15:00,,URGENT,P1,TRANSFER FROM HOSPITAL,HOME,Other,ENGLISH,WIDOWED,WHITE,2180-05-06 "
      "19:17:00,2180-05-06 23:30:00,0\n"
      "12,102,2170-05-01 10:00:00,2170-05-06 11:00:00,2170-05-06 11:00:00,EW EMER.,P2,EMERGENCY ROOM,DIED,Medicare,ENGLISH,,ASIAN,,,1\n");
  temp_text("hosp/transfers.csv",
            "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime\n10,100,1,admit,Medicine,2180-05-06 23:30:00,2180-05-09 "
            "17:15:00\n10,100,2,discharge,,2180-05-09 17:15:00,\n");
  temp_text("hosp/diagnoses_icd.csv",
            "subject_id,hadm_id,seq_num,icd_code,icd_version\n10,100,1,I509,10\n10,100,2,4280,9\n10,100,3,E8889,9\n10,100,4,V1582,9\n10,"
            "999,1,I10,10\n");
  temp_text("hosp/procedures_icd.csv",
            "subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version\n10,100,1,2180-05-07,5491,9\n10,100,2,2180-05-07,0W9G3ZZ,10\n");
  temp_text("hosp/labevents.csv",
            "labevent_id,subject_id,hadm_id,specimen_id,itemid,order_provider_id,charttime,storetime,value,valuenum,valueuom,ref_range_"
            "lower,ref_range_upper,flag,priority,comments\n"
            "1,10,100,7,50912,P1,2180-05-07 05:00:00,2180-05-07 06:30:00,1.2,1.2,mg/dL,0.4,1.1,abnormal,ROUTINE,\"Mrs Smith, see note\"\n"
            "2,10,,7,51265,,2180-05-07 05:00:00,,___,,K/uL,150,440,,STAT,\n3,10,,7,51266,,2180-05-07 05:00:00,2180-05-07 "
            "05:10:00,high,,John Smith,,,,STAT,\n");
  temp_text("hosp/prescriptions.csv",
            "subject_id,hadm_id,pharmacy_id,poe_id,poe_seq,order_provider_id,starttime,stoptime,drug_type,drug,formulary_drug_cd,gsn,ndc,"
            "prod_strength,form_rx,dose_val_rx,dose_unit_rx,form_val_disp,form_unit_disp,doses_per_24_hrs,route\n"
            "10,100,1,10-1,1,P1,2180-05-07 01:00:00,2180-05-08 22:00:00,MAIN,Furosemide,FURO40I,008205,00517570425,40mg/4mL "
            "Vial,,40,mg,1,VIAL,1,IV\n"
            "10,100,2,10-2,2,P1,2180-05-07 02:00:00,,MAIN,Special Mix,,,0,,,1,dose,1,BAG,,IV\n");
  temp_text("hosp/d_labitems.csv",
            "itemid,label,fluid,category\n50912,Creatinine,Blood,Chemistry\n51265,Platelet Count,Blood,Hematology\n");
  temp_text("hosp/d_icd_diagnoses.csv",
            "icd_code,icd_version,long_title\nI509,10,\"Heart failure, unspecified\"\n4280,9,Congestive heart failure\n");
  temp_text("icu/icustays.csv",
            "subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los\n10,100,5,Medical Intensive Care Unit "
            "(MICU),Medical Intensive Care Unit (MICU),2180-05-07 00:30:00,2180-05-08 01:00:00,1.02\n");
  temp_text("icu/d_items.csv",
            "itemid,label,abbreviation,linksto,category,unitname,param_type,lownormalvalue,highnormalvalue\n220045,Heart "
            "Rate,HR,chartevents,Routine Vital Signs,bpm,Numeric,,\n226559,Foley,Foley,outputevents,Output,mL,Numeric,,\n");
  temp_text("icu/chartevents.csv",
            "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valuenum,valueuom,warning\n10,100,5,9,2180-05-07 "
            "01:00:00,2180-05-07 01:20:00,220045,88,88,bpm,0\n10,100,5,9,2180-05-07 01:00:00,2180-05-07 01:20:00,223900,Oriented,,,0\n");
  temp_text("icu/inputevents.csv",
            "subject_id,hadm_id,stay_id,caregiver_id,starttime,endtime,storetime,itemid,amount,amountuom,rate,rateuom,orderid,linkorderid,"
            "ordercategoryname,secondaryordercategoryname,ordercomponenttypedescription,ordercategorydescription,patientweight,totalamount,"
            "totalamountuom,isopenbag,continueinnextdept,statusdescription,originalamount,originalrate\n"
            "10,100,5,9,2180-05-07 02:00:00,2180-05-07 04:00:00,2180-05-07 "
            "04:10:00,221749,2.5,mg,0.5,mcg/kg/min,1,1,a,b,c,d,80,250,ml,0,0,FinishedRunning,2.5,0.5\n");
  temp_text("icu/outputevents.csv",
            "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valueuom\n10,100,5,9,2180-05-07 03:00:00,2180-05-07 "
            "03:10:00,226559,250,ml\n");
  temp_text(
      "hosp/emar.csv",
      "subject_id,hadm_id,emar_id,emar_seq,poe_id,pharmacy_id,enter_provider_id,charttime,medication,event_txt,scheduletime,storetime\n"
      "10,100,10-1,1,10-2,1,P9,2180-05-07 01:10:00,Furosemide,Administered,2180-05-07 01:00:00,2180-05-07 01:12:00\n"
      "10,100,10-2,2,10-2,1,P9,2180-05-07 09:10:00,Furosemide,Not Given per Mrs Smith,2180-05-07 09:00:00,2180-05-07 09:12:00\n"
      "10,100,10-3,3,10-3,,,2180-05-07 10:00:00,,Flushed,2180-05-07 10:00:00,2180-05-07 10:00:00\n");
  temp_text("icu/procedureevents.csv",
            "subject_id,hadm_id,stay_id,caregiver_id,starttime,endtime,storetime,itemid,value,valueuom,location,locationcategory,orderid,"
            "linkorderid,ordercategoryname,ordercategorydescription,patientweight,isopenbag,continueinnextdept,statusdescription,"
            "ORIGINALAMOUNT,ORIGINALRATE\n"
            "10,100,5,9,2180-05-07 05:00:00,2180-05-07 06:30:00,2180-05-07 06:31:00,226559,90,min,John Smith,,1,1,Procedures,"
            "ContinuousProcess,80,1,0,FinishedRunning,90,1\n");
  shell("gzip %s", temp_path("icu/chartevents.csv"));
}

static void want_mimic(void) {
  assert_int_equal(got.rejects, 0);
  assert_int_equal(got.kinds[RECORD_BIRTH], 3);
  assert_string_equal(kind_nth(RECORD_BIRTH, 0)->time, "2120-01-01T00:00:00");
  assert_int_equal(got.kinds[RECORD_DEATH], 2);
  assert_string_equal(kind_nth(RECORD_DEATH, 0)->time, "2181-03-04T23:59:00"); /* a date of death: the end of the day */
  assert_string_equal(kind_nth(RECORD_DEATH, 1)->time, "2170-05-06T11:00:00"); /* in hospital: the minute */
  want_at("HOSPITAL_ADMISSION//URGENT", 0, "2180-05-06T22:23:00", NAN);
  want_at("HOSPITAL_ADMISSION//EW_EMER.", 0, "2170-05-01T10:00:00", NAN);
  want_at("HOSPITAL_DISCHARGE//HOME", 0, "2180-05-09T17:15:00", NAN);
  want_at("ICU_ADMISSION//Medical_Intensive_Care_Unit__MICU_", 0, "2180-05-07T00:30:00", NAN);
  /* what is coded after the stay stands at its end */
  want_at("ICD10CM//I50.9", 0, "2180-05-09T17:15:00", NAN);
  assert_string_equal(nth("ICD10CM//I50.9", 0)->display, "Heart failure, unspecified");
  want_at("ICD9CM//428.0", 0, "2180-05-09T17:15:00", NAN);
  want_at("ICD9CM//E888.9", 0, "2180-05-09T17:15:00", NAN);
  want_at("ICD9CM//V15.82", 0, "2180-05-09T17:15:00", NAN);
  want_at("ICD9PROC//54.91", 0, "2180-05-09T17:15:00", NAN);
  want_at("ICD10PCS//0W9G3ZZ", 0, "2180-05-09T17:15:00", NAN);
  assert_null(nth("ICD10CM//I10", 0)); /* an admission that is not there has no end */
  want_at("LAB//50912//mg/dL", 0, "2180-05-07T06:30:00", 1.2);
  assert_string_equal(nth("LAB//50912//mg/dL", 0)->display, "Creatinine");
  assert_string_equal(nth("LAB//50912//mg/dL", 0)->unit, "mg/dL");
  want_at("LAB//51265//K/uL", 0, "2180-05-07T05:00:00", NAN);
  want_at("LAB//51266", 0, "2180-05-07T05:10:00", NAN); /* a unit that is not on the list */
  assert_string_equal(nth("LAB//51266", 0)->unit, "OTHER");
  want_at("NDC//00517570425", 0, "2180-05-07T01:00:00", NAN);
  want_at("DRUG//Special_Mix", 0, "2180-05-07T02:00:00", NAN);
  want_at("CHART//220045//bpm", 0, "2180-05-07T01:00:00", 88);
  want_at("CHART//223900", 0, "2180-05-07T01:00:00", NAN);
  want_at("INPUT_START//221749", 0, "2180-05-07T02:00:00", 0.5);
  want_at("INPUT_END//221749", 0, "2180-05-07T04:00:00", 2.5);
  want_at("OUTPUT//226559", 0, "2180-05-07T03:00:00", 250);
  want_at("MEDICATION//Furosemide//Administered", 0, "2180-05-07T01:10:00", NAN);
  want_at("MEDICATION//UNKNOWN//Flushed", 0, "2180-05-07T10:00:00", NAN);
  assert_int_equal(count("MEDICATION//Furosemide//Not_Given"), 0); /* words that are not on the list are not taken, nor shortened */
  want_at("PROCEDURE_START//226559", 0, "2180-05-07T05:00:00", NAN);
  want_at("PROCEDURE_END//226559", 0, "2180-05-07T06:30:00", 90);
  assert_string_equal(nth("PROCEDURE_END//226559", 0)->display, "Foley");
  assert_string_equal(nth("PROCEDURE_END//226559", 0)->unit, "min");
  for (size_t i = 0; i < got.n; i++) assert_null(strstr(got.record[i].code, "Smith"));
}

TEST(mimic4) {
  mimic_tables();
  run_few("mimic4", temp_dir);
  want_mimic();
  /* all files in one directory, as some releases lie */
  shell("mv %s/* %s/* %s/", temp_path("hosp"), temp_path("icu"), temp_dir);
  run_few("mimic4", temp_dir);
  want_mimic();
}

TEST(eicu) {
  temp_text(
      "patient.csv",
      "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,wardid,apacheadmissiondx,admissionheight,"
      "hospitaladmittime24,hospitaladmitoffset,hospitaladmitsource,hospitaldischargeyear,"
      "hospitaldischargetime24,hospitaldischargeoffset,hospitaldischargelocation,hospitaldischargestatus,unittype,unitadmittime24,"
      "unitadmitsource,unitvisitnumber,unitstaytype,admissionweight,dischargeweight,"
      "unitdischargetime24,unitdischargeoffset,unitdischargelocation,unitdischargestatus,uniquepid\n"
      "141168,128919,Female,70,Caucasian,59,91,\"Rhythm disturbance (atrial, supraventricular)\",152.4,15:54:00,0,Direct "
      "Admit,2015,03:50:00,3596,Death,Expired,Med-Surg ICU,15:54:00,Direct Admit,1,admit,84.3,85.8,03:50:00,3596,Death,Expired,002-34851\n"
      "141178,128927,Female,> 89,Caucasian,60,83,,162.6,08:56:00,-14,Emergency Department,2015,19:20:00,2050,Home,Alive,Med-Surg "
      "ICU,09:10:00,Emergency Department,1,admit,54.4,54.4,09:18:00,8,Step-Down Unit (SDU),Alive,002-33870\n"
      "141179,128999,Female,> 89,Caucasian,60,83,,,08:56:00,-14,Emergency Department,2015,19:20:00,2050,Home,Alive,Med-Surg "
      "ICU,09:10:00,ICU to SDU,2,stepdown/other,,60.4,19:20:00,2042,Home,Alive,002-33870\n");
  temp_text("lab.csv",
            "labid,patientunitstayid,labresultoffset,labtypeid,labname,labresult,labresulttext,labmeasurenamesystem,"
            "labmeasurenameinterface,labresultrevisedoffset\n"
            "1,141168,516,1,paO2,92,92,mm Hg,mm "
            "Hg,520\n2,141178,-5,1,sodium,139,139,mmol/L,mmol/L,10\n3,777,-5,1,sodium,139,139,mmol/L,mmol/L,10\n");
  temp_text(
      "diagnosis.csv",
      "diagnosisid,patientunitstayid,activeupondischarge,diagnosisoffset,diagnosisstring,icd9code,diagnosispriority\n1,141168,False,72,"
      "cardiovascular|chest pain,\"786.50, R07.9\",Major\n2,141168,True,118,burns/trauma|x,,Other\n3,141168,True,118,x,I48.0,Other\n");
  temp_text("vitalperiodic.csv",
            "vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,heartrate,respiration,cvp,etco2,systemicsystolic,"
            "systemicdiastolic,systemicmean,pasystolic,padiastolic,pamean,st1,st2,st3,icp\n1,141168,5,,93,140,,,,,,,,,,,,,\n");
  temp_text("medication.csv",
            "medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugivadmixture,drugordercancelled,drugname,drughiclseqno,"
            "dosage,routeadmin,frequency,loadingdose,prn,drugstopoffset,gtc\n"
            "1,141168,10,60,No,No,METOPROLOL TARTRATE 25 MG PO TABS,2102,25 3,PO,Q12H,,No,2390,0\n"
            "2,141168,10,90,No,Yes,ASPIRIN,1820,81 3,PO,Daily,,No,2390,0\n3,141168,10,120,No,No,Heparin flush,,,IV,,,No,2390,0\n");
  temp_text("treatment.csv",
            "treatmentid,patientunitstayid,treatmentoffset,treatmentstring,activeupondischarge\n"
            "1,141168,30,cardiovascular|arrhythmias|antiarrhythmics,True\n");
  temp_text("infusiondrug.csv",
            "infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate,infusionrate,drugamount,volumeoffluid,patientweight\n"
            "1,141168,45,Diltiazem (mg/hr),10,10,125,125,84.3\n2,141168,50,Diltiazem (mg/hr),OFF,,,,\n");
  temp_text("intakeOutput.csv",
            "intakeoutputid,patientunitstayid,intakeoutputoffset,intaketotal,outputtotal,dialysistotal,nettotal,intakeoutputentryoffset,"
            "cellpath,celllabel,cellvaluenumeric,cellvaluetext\n"
            "1,141168,240,0,300,0,-300,241,flowsheet|Output (ml)|Urine,Urine,300,300\n");
  temp_text("vitalAperiodic.csv",
            "vitalaperiodicid,patientunitstayid,observationoffset,noninvasivesystolic,noninvasivediastolic,noninvasivemean,paop,"
            "cardiacoutput,cardiacinput,svr,svri,pvr,pvri\n1,141168,15,118,61,82,,,,,,,\n");
  shell("gzip %s", temp_path("lab.csv"));
  run_few("eicu", temp_dir);
  assert_int_equal(got.rejects,
                   2); /* a laboratory row of a stay that is not in patient.csv has no subject; a pump that is "OFF" has no rate */
  assert_true(refused("infusiondrug.drugrate", 3));
  assert_true(refused("lab.subject", 4));
  assert_int_equal(got.kinds[RECORD_BIRTH], 2);
  assert_string_equal(kind_nth(RECORD_BIRTH, 0)->time, "1945-01-01T00:00:00");
  assert_int_equal(kind_nth(RECORD_BIRTH, 1)->precision, TIME_PRECISION_YEAR);
  want_at("HOSPITAL_ADMISSION", 0, "2015-01-01T00:00:00", NAN);
  want_at("ICU_ADMISSION//Med-Surg_ICU", 1, "2015-01-01T00:14:00", NAN);
  want_at("HOSPITAL_ADMISSION", 2, "2015-03-02T00:00:00", NAN); /* the second stay of the person */
  want_at("HOSPITAL_DISCHARGE//Death", 0, "2015-01-03T11:56:00", NAN);
  assert_int_equal(got.kinds[RECORD_DEATH], 1);
  want_at("LAB//paO2", 0, "2015-01-01T08:40:00", 92);
  want_at("LAB//sodium", 0, "2015-01-01T00:24:00", 139);
  assert_string_equal(nth("LAB//sodium", 0)->person, "002-33870");
  want_at("ICD9CM//786.50", 0, "2015-01-01T01:12:00", NAN);
  want_at("ICD10CM//I48.0", 0, "2015-01-01T01:58:00", NAN);
  assert_int_equal(count("EICU//DIAGNOSIS//burns/trauma_x"), 1);
  want_at("VITAL//heartrate", 0, "2015-01-01T00:05:00", 140);
  assert_int_equal(count("VITAL//temperature"), 0);
  want_at("HICL//2102", 0, "2015-01-01T01:00:00", NAN);
  assert_int_equal(count("HICL//1820"), 0); /* a cancelled order */
  want_at("DRUG//Heparin_flush", 0, "2015-01-01T02:00:00", NAN);
  assert_int_equal(count("EICU//TREATMENT//cardiovascular_arrhythmias_antiarrhythmics"), 1);
  want_at("INFUSION//Diltiazem__mg/hr_", 0, "2015-01-01T00:45:00", 10);
  assert_int_equal(count("INFUSION//Diltiazem__mg/hr_"), 1);
  want_at("EICU//IO//Urine", 0, "2015-01-01T04:00:00", 300);
  want_at("VITAL//noninvasivesystolic", 0, "2015-01-01T00:15:00", 118);
  want_at("VITAL//noninvasivemean", 0, "2015-01-01T00:15:00", 82);
  assert_int_equal(count("VITAL//paop"), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, temp_make, temp_remove)
int main(void) {
  const struct CMUnitTest tests[] = {T(mimic4), T(eicu)};
  return cmocka_run_group_tests_name("table_icu", tests, NULL, NULL);
}
